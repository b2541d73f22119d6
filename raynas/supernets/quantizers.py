"""Quantization with straight-through gradients: PACT for activations, DoReFa for weights.

Activations of k bits take 2^k values from 0 to a clipping level that is learned (PACT, Choi et al.
2018, section 3). Weights are quantized as PACT does it, by DoReFa (Zhou et al. 2016, section 2.3).
Both compute in floating point with numbers that k bits can tell apart, as in the papers.
"""

from __future__ import annotations

from math import inf
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raynas.errors import is_number, is_whole, require
from raynas.supernets.sliced import SlicedConv2d

MOST_BITS = 8
"""The most bits that a quantizer takes."""

LEAST_LEVEL = 1e-3
"""The lowest clipping level that is computed with: one at 0 or below would clip everything away."""

LEAST_WEIGHT = 1e-7
"""The smallest tanh that the largest weight is taken to have: all zeros would be 0 / 0."""


def require_bits(bits: object, argument: str = "bits") -> None:
    """Raise `InputError` unless it is a whole number of bits from 1 to 8."""
    require(
        is_whole(bits) and 1 <= bits <= MOST_BITS,
        argument,
        f"a whole number from 1 to {MOST_BITS}",
        repr(bits),
        "SPOS searches 1 to 4 bits.",
    )


def require_level(alpha: object) -> None:
    """Raise `InputError` unless it is a clipping level that activations can be quantized below."""
    require(
        is_number(alpha) and LEAST_LEVEL <= alpha < inf,
        "alpha",
        f"a finite number of at least {LEAST_LEVEL}",
        repr(alpha),
        "It is the largest value that an activation keeps.",
    )


@final
class PACT(nn.Module):
    """ReLU that is clipped at a learned level and then rounded to a few bits.

    The gradient passes where the input is between 0 and the level; that of the level is the sum of
    the gradients where the input is not below it (PACT, equation 3). The level decays with a factor
    of its own, `TrainingSettings.alpha_decay`: that is PACT's regularisation of it, which keeps the
    range that the bits have to cover small. A level that has fallen below 0.001 computes as 0.001
    and keeps its gradient, so that it can rise again.

    Args:
        bits: of the output, 1 to 8: it has 2^bits values.
        alpha: the clipping level at the start.

    Raises:
        InputError: other bits, or no such level.
    """

    raynas_decayed = ("alpha",)

    def __init__(self, bits: int, alpha: float) -> None:
        super().__init__()
        require_bits(bits)
        require_level(alpha)
        self.bits = bits
        self.start = float(alpha)
        self.alpha = nn.Parameter(torch.tensor(self.start))

    def reset_parameters(self) -> None:
        """Set the level back to where it started, as before a training from scratch."""
        with torch.no_grad():
            self.alpha.fill_(self.start)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same, each value a multiple of alpha / (2^bits - 1) from 0 to alpha."""
        y: Tensor = ClippedRounding.apply(x, self.alpha, 2**self.bits - 1)
        return y

    def extra_repr(self) -> str:
        """The bits, where modules are printed."""
        return f"bits={self.bits}"


@final
class ClippedRounding(torch.autograd.Function):
    """PACT's clipping and rounding, and the gradients that it gives them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, steps: int) -> Tensor:
        """Values from 0 to alpha, rounded to multiples of alpha / steps, halves to even ones."""
        ctx.save_for_backward(x, alpha)
        level = alpha.clamp(min=LEAST_LEVEL)
        return torch.round(x.clamp(min=0).minimum(level) * steps / level) * level / steps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Straight through between 0 and alpha; all the rest above it is alpha's."""
        x, alpha = ctx.saved_tensors
        clipped = x >= alpha.clamp(min=LEAST_LEVEL)
        inside = torch.where((x > 0) & ~clipped, grad, 0.0)
        return inside, torch.where(clipped, grad, 0.0).sum(), None


def quantized_weight(weight: Tensor, bits: int) -> Tensor:
    """Weights that take 2^bits values, as a function of float weights that gradients pass through.

    Those of several bits go from -1 to 1, in equal steps of the tanh over its largest value; those
    of one bit are the mean magnitude with the sign of each weight, where 0 counts as positive. The
    rounding, and of one bit the whole function, passes gradients as they are (DoReFa, equations 7
    to 10).

    Args:
        weight: any shape, float.
        bits: from 1.

    Returns:
        The same shape. If all of several bits are 0, they stay as near to 0 as rounding allows.
    """
    if bits == 1:
        signed: Tensor = MeanSign.apply(weight)
        return signed
    curved = weight.tanh()
    largest = curved.abs().max().clamp(min=LEAST_WEIGHT)
    steps = 2**bits - 1
    rounded: Tensor = Rounding.apply((curved / (2 * largest) + 0.5) * steps)
    return (2 * rounded - steps) / steps


@final
class Rounding(torch.autograd.Function):
    """Rounding to integers, halves to even ones, whose gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The nearest integers."""
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Straight through."""
        return grad


@final
class MeanSign(torch.autograd.Function):
    """The mean magnitude with the sign of each value, whose gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Two values; that of 0 is the positive one."""
        mean = x.abs().mean()
        return torch.where(x >= 0, mean, -mean)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Straight through."""
        return grad


@final
class QuantizedConv2d(nn.Module):
    """A convolution whose weights have few bits, on inputs that have few bits.

    Its weights stay floats, which training changes, and are quantized as often as it runs. Whoever
    calls it quantizes the input, since several convolutions may have one input. An exported subnet
    has its own weights in it, and quantizes them.

    Args:
        conv: the convolution in floats, zero-padded; a slice is quantized as the slice that it is.
        weight_bits: of the weights, 1 to 8.
        input_bits: of the input, 1 to 8; only bit operations are counted with them.

    Raises:
        InputError: other bits, or another padding than zeros.
    """

    def __init__(self, conv: SlicedConv2d | nn.Conv2d, weight_bits: int, input_bits: int) -> None:
        super().__init__()
        require_bits(weight_bits, "weight_bits")
        require_bits(input_bits, "input_bits")
        require(
            isinstance(conv, SlicedConv2d)
            or (
                isinstance(conv, nn.Conv2d)
                and conv.padding_mode == "zeros"
                and not isinstance(conv.padding, str)
            ),
            "conv",
            "a convolution that is padded with zeros, by numbers",
            repr(conv),
            "Pad its input, or say by how much.",
        )
        self.conv = conv
        self.weight_bits = weight_bits
        self.input_bits = input_bits

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h', w']`."""
        conv = self.conv
        if isinstance(conv, SlicedConv2d):
            return conv.convolve(x, quantized_weight(conv.sliced_weight(), self.weight_bits))
        weight = quantized_weight(conv.weight, self.weight_bits)
        assert not isinstance(conv.padding, str)
        geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        return F.conv2d(x, weight, conv.bias, *geometry)

    def raynas_cost(self, x: Tensor) -> tuple[int, int] | None:
        """The costs of a slice; those of other convolutions are counted."""
        return self.conv.raynas_cost(x) if isinstance(self.conv, SlicedConv2d) else None

    def raynas_bitops(self, x: Tensor) -> int:
        """Multiply-accumulates on an input, times the bits of weights and of inputs."""
        return self.macs(x) * self.weight_bits * self.input_bits

    def macs(self, x: Tensor) -> int:
        """Multiply-accumulates on an input."""
        conv = self.conv
        if isinstance(conv, SlicedConv2d):
            return conv.raynas_cost(x)[0]
        assert not isinstance(conv.padding, str)
        outputs = len(x) * conv.weight.numel()
        axes = (x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        for size, kernel, stride, padding, dilation in zip(*axes, strict=True):
            outputs *= (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        return outputs

    def extra_repr(self) -> str:
        """The bits, where modules are printed."""
        return f"weight_bits={self.weight_bits}, input_bits={self.input_bits}"
