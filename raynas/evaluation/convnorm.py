"""A convolution and the batch norm after it as one module, which costs fewer passes over memory.

Under fixed statistics batch norm is an affine map per channel: it is applied in place, or folded
into the convolution. Under the batch's own, their moments are summed over wider rows than torch
takes, and the map is applied in place, too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LARGE = 2**17
"""From so many values on, the batch's own statistics are not left to torch's layer."""

WIDE_ROW, WIDENED = 256, 2**18
"""Rows have at most so many values, and are made of several pixels from so many values on."""


class ConvNorm(nn.Module):
    """A convolution, and the batch norm after it.

    The layer's buffers hold fixed statistics or receive the batch's, by whether it is in training
    mode. Fixed ones give what torch's layer gives, to the bit, unless they are folded; so do those
    of a batch of fewer than `LARGE` values.

    Args:
        conv: zero-padded.
        norm: of its output channels, with running statistics.
    """

    folded: tuple[Tensor, Tensor] | None = None
    """Weight and bias with fixed statistics in them."""

    fixed: tuple[Tensor, Tensor] | None = None
    """Scale and shift of each channel under fixed statistics, `float32[1, channels, 1, 1]`."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` to the normalised output of the convolution."""
        conv, norm = self._modules["conv"], self._modules["norm"]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        if self.folded is not None and not norm.training:
            weight, bias = self.folded
            return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        y: Tensor = conv(x)
        if not dense(y) or (norm.training and y.numel() < LARGE):
            z: Tensor = norm(y)
            return z
        if norm.training:
            scale, shift = measure(norm, y)
        else:
            assert self.fixed is not None
            scale, shift = self.fixed
        return torch.addcmul(shift, y, scale, out=y)


def dense(y: Tensor) -> bool:
    """Whether it has the layout and type that the kernels here are good for."""
    return (
        y.dtype == torch.float32
        and y.device.type == "cpu"
        and y.is_contiguous(memory_format=torch.channels_last)
    )


def measure(norm: nn.BatchNorm2d, y: Tensor) -> tuple[Tensor, Tensor]:
    """Write a batch's statistics into the layer's buffers; the map that normalises it."""
    mean, variance = moments(y)
    buffers, count = norm._buffers, y.numel() // len(mean)
    means, variances = buffers["running_mean"], buffers["running_var"]
    assert means is not None
    assert variances is not None
    means.copy_(mean)
    torch.mul(variance, count / (count - 1), out=variances)
    scale, shift = affine(mean, variance, norm.eps, norm.weight, norm.bias)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, `float32[c]`, of channels-last `[n, c, h, w]`.

    Rows of few channels leave vector registers half empty, so those of several pixels are summed
    side by side, and their moments joined.
    """
    n, c, h, w = y.shape
    pixels = beside(c, h * w) if y.numel() >= WIDENED else 1
    rows = y.permute(0, 2, 3, 1).view(n, h * w // pixels, 1, pixels * c).permute(0, 3, 1, 2)
    means, variances = torch.batch_norm_update_stats(rows, None, None, 0.0)
    if pixels == 1:
        return means, variances
    means, variances = means.view(pixels, c), variances.view(pixels, c)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square_().mean(0)


def beside(channels: int, pixels: int) -> int:
    """How many pixels to put side by side: a divisor of all, for rows of at most `WIDE_ROW`."""
    most = max(1, WIDE_ROW // channels)
    return next(k for k in range(min(most, pixels), 0, -1) if pixels % k == 0)


def affine(
    mean: Tensor, variance: Tensor, eps: float | Tensor, gain: Tensor | None, offset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel, in the operations of torch's own layer."""
    scale = torch.rsqrt(variance + eps)
    if gain is not None:
        scale = scale * gain
    shift = (
        (mean * scale).neg_() if offset is None else torch.addcmul(offset, mean, scale, value=-1)
    )
    return scale, shift


def join_pairs(module: nn.Module) -> None:
    """Make pairs of convolution and batch norm in a module one `ConvNorm` each, in place.

    Only neighbours in an `nn.Sequential` are joined, since only there what runs after what is
    known. All other batch norms stay.
    """
    for parent in [m for m in module.modules() if runs_in_order(m)]:
        for first, second in pairwise(list(parent._modules)):
            conv, norm = parent._modules[first], parent._modules[second]
            if joinable(conv, norm):
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                parent._modules[first] = ConvNorm(conv, norm).train(norm.training)
                # The other layers keep their places, which a parent may know.
                parent._modules[second] = nn.Identity()


def runs_in_order(module: nn.Module) -> bool:
    """Whether it is an `nn.Sequential` with its own `forward`, which subclasses may replace."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def joinable(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether they are exactly the layers that torch defines, without hooks, one after the other.

    A subclass may compute something else, so it is left alone.
    """
    return (
        type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and conv.padding_mode == "zeros"
        and conv.out_channels == norm.num_features
        and norm.running_mean is not None
        and not any(m._forward_hooks or m._forward_pre_hooks for m in (conv, norm))
    )


def affine_parameter(norm: _BatchNorm, name: str, default: float) -> Tensor:
    """A layer's affine parameter, or what it is without one, `float32[channels]`."""
    value: Tensor | None = getattr(norm, name)
    if value is None:
        return torch.full((norm.num_features,), default)
    return value.detach().to(torch.float32)
