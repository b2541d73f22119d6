"""Modules that a search cannot use, and the words with which the check refuses them."""

from __future__ import annotations

import warnings

import torch
from block_zoo import WIDTH, Make
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize
from torch.nn.utils import prune
from torchvision.models import resnet


class Gumbel(nn.Module):
    """Draws random numbers in evaluation mode, too."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gumbel_softmax(x, dim=-1)


def pruned() -> nn.Module:
    module = nn.Conv2d(WIDTH, WIDTH, 1)
    prune.l1_unstructured(module, "weight", 0.5)
    return module


def fractional() -> nn.Module:
    """Pools over regions that are random, in evaluation mode, too."""
    return nn.Sequential(nn.FractionalMaxPool2d(2, output_size=5), nn.Upsample((8, 8)))


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(resnet.BasicBlock(WIDTH, WIDTH))


REFUSED: dict[str, tuple[Make, bool, str]] = {
    "pruned, whose weight is no leaf": (pruned, False, "can be copied"),
    "an activation in place, first": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(WIDTH, WIDTH, 1)),
        False,
        "leaves its input unchanged",
    ),
    "pooling that returns indices": (
        lambda: nn.MaxPool2d(3, 1, 1, return_indices=True),
        False,
        "expected one tensor, got a tuple of 2",
    ),
    "random pooling": (fractional, False, "draws random numbers"),
    "random selection": (Gumbel, True, "draws random numbers"),
    "TorchScript with batch norm": (
        scripted,
        False,
        "inside TorchScript",
    ),
    "a lazy norm": (nn.LazyBatchNorm2d, False, "a lazy one"),
    "a norm of another dimension": (
        lambda: nn.BatchNorm1d(WIDTH), False, "expected 2D or 3D input"
    ),
    "another shape": (lambda: nn.Conv2d(WIDTH, WIDTH, 3), False, "one output shape"),
    "half precision": (lambda: nn.Conv2d(WIDTH, WIDTH, 1).half(), False, "call float()"),
    "double precision": (lambda: nn.Conv2d(WIDTH, WIDTH, 1).double(), False, "call float()"),
    "attention of three inputs": (
        lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True), True, "'key' and 'value'"
    ),
    "a recurrent layer": (
        lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True), True, "expected one tensor, got a tuple"
    ),
    "quantization that still observes": (FakeQuantize, False, "stay as they are in evaluation"),
}  # fmt: skip
"""A module, whether it is one on tokens, and what the error says."""
