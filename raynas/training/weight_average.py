"""The moving average of weights that a training may end with (GreedyNAS, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from raynas.errors import require
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import copy_all


@final
class WeightAverage:
    """The exponential moving average of a supernet's weights and batch-norm statistics.

    It begins with those of the first step. Weights without a gradient, counters of batches and all
    other buffers (masks, tables) are not averaged, and stay the supernet's own.

    Args:
        supernet: that is trained, on its device.
        decay: the share of the average that a step keeps.
    """

    def __init__(self, supernet: ChainSupernet, decay: float) -> None:
        self._supernet = supernet
        self._move = get_ema_multi_avg_fn(decay)
        self.tensors: dict[str, Tensor] = {}
        """The average by the name of each tensor; empty before the first step."""

    def update(self) -> None:
        """Move towards what the supernet has after a step."""
        now = {name: tensor.detach() for name, tensor in self._averaged().items()}
        own = {name: self.tensors[name] for name in now if name in self.tensors}
        if own:
            with torch.no_grad():
                self._move(list(own.values()), [now[name] for name in own], None)  # type: ignore[arg-type]
        # What a module has only just got begins now.
        self.tensors = own | {name: now[name].clone() for name in now if name not in own}

    def require_fitting(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` unless a checkpoint holds an average of this supernet."""
        own = {name: tensor.shape for name, tensor in self._averaged().items()}
        require(
            own == {name: tensor.shape for name, tensor in tensors.items()},
            "checkpoint",
            "an average of this supernet's weights",
            f"{path} with that of other weights" if tensors else f"{path} without one",
            "Remove it to train from the start, or name another file.",
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint holds, on the supernet's device."""
        now = self._averaged()
        self.tensors = {
            name: tensor.to(now[name].device, now[name].dtype, copy=True)
            for name, tensor in tensors.items()
        }

    def put(self) -> None:
        """Give the supernet its average."""
        now = self._averaged()
        copy_all((now[name], tensor) for name, tensor in self.tensors.items() if name in now)

    def _averaged(self) -> dict[str, Tensor]:
        weights = {n: each for n, each in self._supernet.named_parameters() if each.requires_grad}
        statistics = {
            f"{name}.{own}": held
            for name, module in self._supernet.named_modules()
            if isinstance(module, _BatchNorm)
            for own in ("running_mean", "running_var")
            if (held := getattr(module, own)) is not None
        }
        every = {**weights, **statistics}
        return {n: t for n, t in every.items() if t.is_floating_point() or t.is_complex()}
