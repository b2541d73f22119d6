"""A convolution and the batch norm after it as one step, which costs fewer passes over memory.

Under fixed statistics batch norm is an affine map per channel: it is applied in place, or folded
into the convolution. Under the batch's own, their moments are summed over wider rows than torch
takes, and the map is applied in place, too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.evaluation.batch_norm.statistics import share_of_call
from raynas.supernets.layout import runs_known_code

LARGE = 2**17
"""The fewest values of a batch whose statistics are not left to torch's layer, which is as
fast below (channels 16 to 80, 4² to 28² pixels, one thread)."""

WIDE_ROW, WIDENED = 256, 2**18
"""The most values of a row, and the fewest values of a batch whose rows hold several pixels: what
was fastest for these sizes."""


@final
class ConvNorm:
    """A convolution, and the batch norm after it.

    While the layer is in training mode its buffers receive the batch's statistics. Otherwise
    `fixed` ones apply; they give what torch's layer gives, to the bit on x86-64, unless `folded`.
    So do those of a batch of fewer than `LARGE` values.

    Args:
        conv: zero-padded.
        norm: of its output channels, with running statistics.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv = conv
        self.norm = norm
        self.fixed: tuple[Tensor, Tensor] | None = None
        """Scale and shift of each channel, `float32[1, channels, 1, 1]`; `None`: see the buffers
        of the layer, which hold fixed statistics, too."""
        self.folded: tuple[Tensor, Tensor] | None = None
        """Weight and bias of the convolution with them in it."""
        self._made_of = (conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` to the normalised output of the convolution."""
        conv, norm = self.conv, self.norm
        if not norm.training and not self._as_it_was():
            z: Tensor = norm(conv(x))
            return z
        if self.folded is not None and not norm.training:
            weight, bias = self.folded
            return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        y: Tensor = conv(x)
        own = y.dtype == torch.float32 and y.device.type == "cpu"
        if own and norm.training and y.numel() >= LARGE:
            # A single channel hides the layout of the input, and with it that of the output.
            y = y.contiguous(memory_format=torch.channels_last)
            scale, shift = measure(norm, y)
        elif own and not norm.training and self.fixed is not None:
            scale, shift = self.fixed
        else:
            z = norm(y)
            return z
        return torch.addcmul(shift, y, scale, out=y)

    def _as_it_was(self) -> bool:
        """Whether the layers have the parameters that fixed statistics were made ready with.

        A block may run them with others: `torch.func.functional_call`, or an eps that it changes.
        """
        conv, norm = self.conv._parameters, self.norm._parameters
        weight, bias, gain, offset, eps = self._made_of
        return (
            norm["weight"] is gain
            and norm["bias"] is offset
            and conv["weight"] is weight
            and conv["bias"] is bias
            and self.norm.eps == eps
        )


@final
class JoinedSteps:
    """The forward of an `nn.Sequential`, each convolution joined with the batch norm after it.

    Args:
        steps: its layers in their order, pairs as one.
    """

    def __init__(self, steps: list[Callable[[Tensor], Tensor]]) -> None:
        self.steps = steps

    def __call__(self, x: Tensor) -> Tensor:
        """Run the steps one after another."""
        for step in self.steps:
            x = step(x)
        return x


def measure(norm: nn.BatchNorm2d, y: Tensor) -> tuple[Tensor, Tensor]:
    """Write a batch's statistics into the layer's buffers; the map that normalises it."""
    mean, variance = moments(y)
    buffers, count = norm._buffers, y.numel() // len(mean)
    means, variances = buffers["running_mean"], buffers["running_var"]
    assert means is not None
    assert variances is not None
    momentum = share_of_call(norm)
    if momentum == 1.0:
        means.copy_(mean)
        torch.mul(variance, count / (count - 1), out=variances)
    else:
        means.lerp_(mean, momentum)
        variances.lerp_(variance * (count / (count - 1)), momentum)
    scale, shift = affine(mean, variance, norm.eps, norm.weight, norm.bias)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, `float32[c]`, of channels-last `[n, c, h, w]`.

    Rows of few channels leave vector registers half empty, so those of several pixels are summed
    side by side, and their moments joined.
    """
    n, c, h, w = y.shape
    pixels = beside(c, h * w) if y.numel() >= WIDENED else 1
    flat = y.permute(0, 2, 3, 1).reshape(-1)
    rows = flat.view(n, h * w // pixels, 1, pixels * c).permute(0, 3, 1, 2)
    means, variances = torch.batch_norm_update_stats(rows, None, None, 0.0)
    if pixels == 1:
        return means, variances
    means, variances = means.view(pixels, c), variances.view(pixels, c)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square_().mean(0)


def beside(channels: int, pixels: int) -> int:
    """The number of pixels put side by side: a divisor of all, for rows of at most `WIDE_ROW`."""
    most = max(1, WIDE_ROW // channels)
    return next(k for k in range(min(most, pixels), 0, -1) if pixels % k == 0)


def affine(
    mean: Tensor, variance: Tensor, eps: float | Tensor, gain: Tensor | None, offset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel, in the operations of torch's own layer."""
    scale = torch.rsqrt(variance + eps)
    if gain is not None:
        scale = scale * gain
    if offset is None:
        return scale, (mean * scale).neg_()
    return scale, torch.addcmul(offset, mean, scale, value=-1)


def join_pairs(module: nn.Module) -> None:
    """Let every `nn.Sequential` in a module run its pairs of convolution and batch norm as one.

    Only there what runs after what is known, and only when it runs as a whole: its layers stay
    what and where they are, for those who use them one by one. All other batch norms stay.
    """
    for parent in [m for m in module.modules() if runs_in_order(m)]:
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
        # As an attribute of this one object it goes before the method of its class.
        vars(parent)["forward"] = JoinedSteps(steps)


def joined_pairs(module: nn.Module) -> list[ConvNorm]:
    """The pairs that a module runs as one."""
    runs = [vars(parent).get("forward") for parent in module.modules()]
    steps = [step for run in runs if isinstance(run, JoinedSteps) for step in run.steps]
    return [step for step in steps if isinstance(step, ConvNorm)]


def runs_in_order(module: nn.Module) -> bool:
    """Whether it is an `nn.Sequential` with its own `forward`, which subclasses may replace."""
    return (
        isinstance(module, nn.Sequential)
        and type(module).forward is nn.Sequential.forward
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
