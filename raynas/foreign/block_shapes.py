"""Channels and strides of the blocks of a supernet, measured on an example."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from raynas.foreign.found import BlockShape
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.chain_nodes import example_batch
from raynas.supernets.plain_torch import plain_torch

SMALLEST = 3
"""The side of maps below which a stride of 2 cannot be told from one of 1."""


def shapes_of(supernet: ChainSupernet) -> list[BlockShape | None]:
    """The channels that every block gets and gives, and its stride.

    Copies of one path are run; the supernet stays as it is.

    Returns:
        A shape for each block; `None` where it has no images, and a stride of 0 where maps are too
        small to tell.
    """
    found: list[BlockShape | None] = []
    path = (0,) * supernet.space.blocks
    first = next(iter((*supernet.parameters(), *supernet.buffers())), torch.zeros(0))
    x = example_batch(supernet, 1).to(first.device)
    with plain_torch():
        x = output_of(supernet.stem, x)
        for depth in range(1, len(path) + 1):
            y = output_of(supernet.node(path[:depth]), x)
            images = x.dim() == y.dim() == 4
            found.append(BlockShape(x.shape[1], y.shape[1], stride(x, y)) if images else None)
            x = y
    return found


def output_of(module: nn.Module, x: Tensor) -> Tensor:
    """The output of a copy of a module in evaluation mode."""
    output: Tensor = copy.deepcopy(module).eval()(x)
    return output


def stride(x: Tensor, y: Tensor) -> int:
    """The stride between two maps; 0 if they are too small to tell."""
    return round(x.shape[-1] / y.shape[-1]) if x.shape[-1] >= SMALLEST else 0
