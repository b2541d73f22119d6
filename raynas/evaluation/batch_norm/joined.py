"""The pairs of a module that run as one, and the conditions under which they do.

A block may do anything with the sequence while it runs: exchange a layer, leave one out, listen to
one. Where something is not as it was when the pairs were joined, its layers run one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from operator import is_
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.evaluation.batch_norm.conv_norm import ConvNorm
from raynas.supernets.layout import comes_with_torch, runs_known_code


@final
class JoinedSteps:
    """The forward of an `nn.Sequential`, each convolution joined with the batch norm after it.

    Args:
        parent: the sequence.
        steps: its layers in their order, pairs as one.
        came: what `code_of_torch` gave then.
    """

    def __init__(
        self,
        parent: nn.Sequential,
        steps: list[Callable[[Tensor], Tensor]],
        came: tuple[Any, ...],
    ) -> None:
        self.steps = steps
        self._parent = parent
        self._joined = tuple(parent._modules.values())
        self._came = came

    def __call__(self, x: Tensor) -> Tensor:
        """Run the steps one after another; the sequence itself, where it is another now."""
        if not self._runs_as_it_was():
            y: Tensor = type(self._parent).forward(self._parent, x)
            return y
        for step in self.steps:
            x = step(x)
        return x

    def _runs_as_it_was(self) -> bool:
        """Whether the same layers run, and nobody but their parent sees or changes what they do."""
        layers = self._parent._modules
        return (
            len(layers) == len(self._joined)
            and all(map(is_, layers.values(), self._joined))
            and not hooks._has_any_global_hook()
            and not torch.is_grad_enabled()
            and torch._C._len_torch_function_stack() == 0
            and torch._C._len_torch_dispatch_stack() == 0
            and all(map(is_, code_of_torch(), self._came))
        )


def code_of_torch() -> tuple[Any, ...]:
    """The code that torch runs of a convolution and a batch norm in a sequence, as it is now."""
    return (
        nn.Sequential.forward, nn.Sequential.__iter__, nn.Module.__call__,
        nn.Conv2d.forward, nn.Conv2d._conv_forward, nn.BatchNorm2d.forward, _BatchNorm.forward,
        F.conv2d, F.batch_norm, torch.batch_norm,
    )  # fmt: skip


def join_pairs(module: nn.Module) -> None:
    """Let every `nn.Sequential` in a module run its pairs of convolution and batch norm as one.

    Only there what runs after what is known, and only when it runs as a whole: its layers stay
    what and where they are, for those who use them one by one. All other batch norms stay.
    """
    came = code_of_torch()
    if not all(map(comes_with_torch, came)):
        return
    sequences = [each for each in module.modules() if isinstance(each, nn.Sequential)]
    for parent in filter(runs_in_order, sequences):
        layers = list(parent._modules.values())
        steps: list[Callable[[Tensor], Tensor]] = []
        joined = False
        for first, second in pairwise([*layers, None]):
            assert first is not None
            if joined:
                joined = False
            elif joined := joinable(first, second):
                steps.append(ConvNorm(first, second))  # type: ignore[arg-type]
            else:
                steps.append(first)
        if len(steps) < len(layers):
            # As an attribute of this one object it goes before the method of its class.
            vars(parent)["forward"] = JoinedSteps(parent, steps, came)


def joined_pairs(module: nn.Module) -> list[ConvNorm]:
    """The pairs that a module runs as one."""
    runs = [vars(parent).get("forward") for parent in module.modules()]
    steps = [step for run in runs if isinstance(run, JoinedSteps) for step in run.steps]
    return [step for step in steps if isinstance(step, ConvNorm)]


def runs_in_order(module: nn.Sequential) -> bool:
    """Whether a sequence runs as torch's does, which subclasses may replace."""
    return (
        type(module).forward is nn.Sequential.forward
        and type(module).__iter__ is nn.Sequential.__iter__
        and "forward" not in vars(module)
    )


def joinable(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether they are exactly the layers that torch defines, without hooks, one after the other.

    A subclass may compute something else, so it is left alone, and so are layers that run in
    another type inside their block. So is a single channel, for which torch's layer has kernels
    that round differently.
    """
    return (
        type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and conv.padding_mode == "zeros"
        and conv.out_channels == norm.num_features > 1
        and conv.weight.dtype == torch.float32
        and norm.running_mean is not None
        and norm.track_running_stats
        and runs_known_code(conv)
        and runs_known_code(norm)
    )
