"""The blocks of ResNets of mixed precision: choices of bits and widths that share their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import torch
from torch import Tensor, nn

from raynas.errors import is_number, require
from raynas.supernets.builder_options import is_list
from raynas.supernets.quantizers import PACT, QuantizedConv2d, require_bits
from raynas.supernets.sliced import SlicedConv2d


@final
@dataclass(frozen=True)
class BlockWeights:
    """The weights that the choices of a block share, as wide as the widest of them.

    Args:
        first: `[most middle channels, inputs, 3, 3]`.
        second: `[outputs, most middle channels, 3, 3]`.
        shortcut: `[outputs, inputs, 1, 1]`; `None` where the input is passed as it is.
    """

    first: nn.Parameter
    second: nn.Parameter
    shortcut: nn.Parameter | None


def kaiming(outputs: int, inputs: int, kernel: int) -> nn.Parameter:
    """A weight by Kaiming initialisation."""
    weight = torch.empty(outputs, inputs, kernel, kernel)
    return nn.Parameter(weight.normal_(0.0, math.sqrt(2.0 / (inputs * kernel * kernel))))


@final
class QuantizedBasicBlock(nn.Module):
    """A basic block of ResNet, whose convolutions compute in few bits.

    PACT takes the place of the ReLU before each convolution; the last ReLU, behind the sum, stays,
    so that the next block quantizes its input to the bits of its own choice. A shortcut without a
    convolution passes its input as it is.

    Args:
        weights: that all choices of the block share.
        middle: channels between the two convolutions.
        stride: of the first convolution, and of the shortcut's.
        bits: of weights, and of activations.
        alpha: the clipping levels at the start.
    """

    def __init__(
        self, weights: BlockWeights, middle: int, stride: int, bits: tuple[int, int], alpha: float
    ) -> None:
        super().__init__()
        outputs, inputs = weights.second.shape[0], weights.first.shape[1]

        def conv(weight: nn.Parameter, outs: int, ins: int, step: int) -> list[nn.Module]:
            padding = weight.shape[-1] // 2
            sliced = SlicedConv2d(weight, outs, ins, stride=step, padding=padding)
            return [QuantizedConv2d(sliced, *bits), nn.BatchNorm2d(outs, affine=False)]

        self.quantize = PACT(bits[1], alpha)
        self.layers = nn.Sequential(
            *conv(weights.first, middle, inputs, stride),
            PACT(bits[1], alpha),
            *conv(weights.second, outputs, middle, 1),
        )
        self.shortcut: nn.Module | None = None
        if weights.shortcut is not None:
            self.shortcut = nn.Sequential(*conv(weights.shortcut, outputs, inputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h / stride, w / stride]`, from 0 on."""
        quantized = self.quantize(x)
        passed = x if self.shortcut is None else self.shortcut(quantized)
        return torch.relu(self.layers(quantized) + passed)


def choices_of_block(
    inputs: int,
    outputs: int,
    stride: int,
    bits: Sequence[tuple[int, int]],
    widths: Sequence[float],
    alpha: float,
) -> dict[str, nn.Module]:
    """The choices of a block, by name: `w1a2@0.5`, …, which share their weights."""
    most = round(max(widths) * outputs)
    projected = stride != 1 or inputs != outputs
    weights = BlockWeights(
        kaiming(most, inputs, 3),
        kaiming(outputs, most, 3),
        kaiming(outputs, inputs, 1) if projected else None,
    )
    return {
        f"w{pair[0]}a{pair[1]}@{width}": QuantizedBasicBlock(
            weights, round(width * outputs), stride, pair, alpha
        )
        for pair, width in product(bits, widths)
    }


def as_bits(bits: Any) -> list[tuple[int, int]]:
    """The choices of bits as pairs.

    Raises:
        InputError: none, or something else.
    """
    remedy = "Write bits=((2, 2), (2, 4)), of weights and of activations."
    require(is_list(bits) and len(bits) > 0, "bits", "at least one pair", repr(bits), remedy)
    for pair in bits:
        require(is_list(pair) and len(pair) == 2, "bits", "pairs", repr(pair), remedy)
        for each in pair:
            require_bits(each)
    pairs = [(int(pair[0]), int(pair[1])) for pair in bits]
    require(len(set(pairs)) == len(pairs), "bits", "each pair once", pairs, remedy)
    return pairs


def as_widths(widths: Any, channels: Sequence[int]) -> list[float]:
    """The choices of widths as floats, which give whole numbers of channels in every stage.

    Raises:
        InputError: none, or something else.
    """
    remedy = "Write widths=(0.5, 1.0, 1.5)."
    require(
        is_list(widths)
        and len(widths) > 0
        and all(is_number(each) and 0 < each < math.inf for each in widths),
        "widths",
        "at least one, each a positive number",
        repr(widths),
        remedy,
    )
    found = [float(each) for each in widths]
    require(len(set(found)) == len(found), "widths", "each once", found, remedy)
    for width, count in product(found, channels):
        middle = round(width * count)
        require(
            middle >= 1 and math.isclose(middle, width * count),
            "widths",
            f"multiples of {list(channels)} channels that are whole numbers",
            f"{width} × {count}",
            remedy,
        )
    return found
