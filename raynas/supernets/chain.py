"""`ChainSupernet`: a stem, a chain of choice blocks, and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.errors import InputError, require
from raynas.inputs import Inputs
from raynas.space import Architecture, SearchSpace
from raynas.task import Task

Path = tuple[int, ...]
"""A node of the chain: `()` the stem, a prefix of k choices the k-th block, and an architecture
followed by one 0 the head."""


NodeKind = tuple[int, int]
"""Depth and choice: `(0, 0)` the stem, `(k, c)` choice c of the k-th block, and at the depth after
the last block the head."""


class ChainSupernet(nn.Module):
    """A supernet whose subnets are chains: one choice of each block between a stem and a head.

    An architecture is a value and an argument of `forward`; nothing about the supernet changes
    when it is evaluated. Choices of one block must map inputs of one shape to outputs of one
    shape, must not modify their input in place, and may share weights with each other.

    Args:
        stem: maps images (uint8, `[n, c, h, w]`) to the input of the first block.
        blocks: the choices of each block, shallowest block first.
        head: maps the output of the last block to logits `[n, num_classes]`.
        image_shape: `(channels, height, width)` of images of bytes; `inputs` says the same.
        num_classes: the number of logits of a classifier; `None` for other tasks.
        inputs: the shape and type of a sample, where it is not an image of bytes.
        recipe: how it was built (a JSON object), saved with the weights so that the command line
            can rebuild it; `None` for supernets that only their user's code can build.

    Raises:
        InputError: no blocks, a block without choices, or no single shape of inputs.
    """

    inputs: Inputs

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[Sequence[nn.Module]],
        head: nn.Module,
        *,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int | None = None,
        inputs: Inputs | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require(
            (image_shape is None) != (inputs is None),
            "inputs",
            "either image_shape (images of bytes) or inputs (anything else)",
            "neither" if inputs is None else "both",
            "Say what one sample is.",
        )
        self.inputs = Inputs(image_shape) if inputs is None else inputs  # type: ignore[arg-type]
        self.space = SearchSpace(tuple(len(choices) for choices in blocks))
        self.stem = stem
        self.blocks = nn.ModuleList(nn.ModuleList(choices) for choices in blocks)
        self.head = head
        self.num_classes = num_classes
        self.recipe = dict(recipe) if recipe is not None else None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one sample: `(channels, height, width)` of images."""
        return self.inputs.shape

    def node(self, path: Path) -> nn.Module:
        """The module at a node of the chain: stem, a choice, or head."""
        if not path:
            return self.stem
        if len(path) > self.space.blocks:
            return self.head
        choices = self.blocks[len(path) - 1]
        assert isinstance(choices, nn.ModuleList)
        return choices[path[-1]]

    def forward(
        self, x: Tensor, architecture: Architecture, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Run one subnet, or a range of its blocks.

        Args:
            x: images if `start` is 0, else the output of block `start - 1` of the architecture.
            architecture: one choice per block.
            start: the depth of `x`: how many blocks it has been through.
            stop: the depth of the result; `None` runs all blocks and the head, 0 only the stem
                (ranges compose from depth 1 on).

        Returns:
            Logits `[n, num_classes]`, or the activation at depth `stop`.
        """
        if start == 0:
            x = self.stem(x)
        last = self.space.blocks if stop is None else stop
        for depth in range(start + 1, last + 1):
            x = self.node(architecture[:depth])(x)
        return self.head(x) if stop is None else x

    def subnet(self, architecture: Sequence[int]) -> nn.Sequential:
        """One architecture as a plain `nn.Sequential` that shares this supernet's weights.

        Raises:
            InputError: an architecture of wrong length or choice.
        """
        chosen = self.space.validate(architecture)
        layers = [self.node(chosen[:depth]) for depth in range(1, self.space.blocks + 1)]
        return nn.Sequential(self.stem, *layers, self.head)

    def check(self, task: Task | None = None) -> None:
        """Run every choice once on the meta device.

        Raises:
            InputError: the choices of a block disagree on their output shape, or the head does not
                give `num_classes` logits.
        """
        replica = to_meta(self)
        with torch.no_grad():
            x = replica.stem(
                torch.empty(
                    (2, *self.image_shape), dtype=getattr(torch, self.inputs.dtype), device="meta"
                )
            )
            for block, choices in enumerate(self.space.choices):
                outputs = [replica.node((0,) * block + (c,))(x) for c in range(choices)]
                shapes = [tuple(output.shape) for output in outputs]
                require(
                    len(set(shapes)) == 1,
                    f"blocks[{block}]",
                    "choices with one output shape",
                    shapes,
                    "Give every choice of a block the same output channels and stride.",
                )
                x = outputs[0]
            logits = tuple(replica.head(x).shape)
        require(
            self.num_classes is None or logits == (2, self.num_classes),
            "head",
            f"logits of shape (n, {self.num_classes})",
            logits,
            "Make the head end in one logit per class.",
        )


def to_meta(supernet: ChainSupernet) -> ChainSupernet:
    """A copy of the supernet without data, in evaluation mode, for shape and cost computations."""
    import copy

    try:
        return copy.deepcopy(supernet).to("meta").eval()
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            "supernet",
            "modules that can be copied and moved to the meta device",
            error,
            "Register tensors as parameters or buffers.",
        ) from error


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a module that keep running statistics, in definition order."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
