"""A convolution and the batch norm after it as one step, which costs fewer passes over memory.

Under fixed statistics batch norm is an affine map per channel: it is applied in place, or folded
into the convolution. Under the batch's own, their moments are summed over wider rows than torch
takes, and the map is applied in place, too.
"""

from __future__ import annotations

from operator import is_
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.evaluation.batch_norm.statistics import AveragedCalls, share_of_call

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
        self.moments: tuple[Tensor | None, Tensor | None] = (None, None)
        """The buffers that `fixed` was made from; none before it was."""
        self.take_parameters()

    def take_parameters(self) -> None:
        """Note the parameters that fixed statistics are made ready with."""
        norm = self.norm
        self._affine = tuple(map(noted, (norm.weight, norm.bias)))
        self._weights = (self.conv.weight, self.conv.bias)
        self._places = tuple(map(place_of, self._weights))
        self._eps = norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` to the normalised output of the convolution."""
        conv, norm = self.conv, self.norm
        if not (self._runs_as_it_was() and (norm.training or self._has_what_it_had())):
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

    def _runs_as_it_was(self) -> bool:
        """Whether nobody listens to the layers or lets them run otherwise, as a block may.

        One that takes the output of a convolution by a hook would find it overwritten.
        """
        conv, norm = self.conv, self.norm
        return (
            not (conv._forward_hooks or conv._forward_pre_hooks or "forward" in conv.__dict__)
            and not (norm._forward_hooks or norm._forward_pre_hooks)
            and type(norm.__dict__.get("forward")) in FORWARDS
            and type(conv) is nn.Conv2d
            and type(norm) is nn.BatchNorm2d
            and conv.padding_mode == "zeros"
            and norm.track_running_stats
        )

    def _has_what_it_had(self) -> bool:
        """Whether the layers have the parameters and statistics that were made ready.

        A block may run them with others: `torch.func.functional_call`, or what it changes.
        """
        norm, (mean, variance) = self.norm, self.moments
        buffers, parameters = norm._buffers, norm._parameters
        return (
            (mean is None or buffers["running_mean"] is mean)
            and (variance is None or buffers["running_var"] is variance)
            and is_as_noted(parameters["weight"], self._affine[0])
            and is_as_noted(parameters["bias"], self._affine[1])
            and norm.eps == self._eps
            and (self.folded is None or self._has_its_weights())
        )

    def _has_its_weights(self) -> bool:
        """Whether the convolution has the weights that statistics were folded into."""
        held = (self.conv._parameters["weight"], self.conv._parameters["bias"])
        return all(map(is_, held, self._weights)) and tuple(map(place_of, held)) == self._places


FORWARDS = (type(None), AveragedCalls)
"""The forwards of a batch norm that are replaced: its own, or the one that counts its calls."""


def noted(parameter: Tensor | None) -> tuple[Tensor, int] | None:
    """A copy of a parameter, and its address; itself on a GPU, which comparing would wait for."""
    if parameter is None:
        return None
    held = parameter.detach()
    return (held.clone() if parameter.is_cpu else held), parameter.data_ptr()


def is_as_noted(parameter: Tensor | None, before: tuple[Tensor, int] | None) -> bool:
    """Whether a parameter is what it was: by its values, on a GPU by its address."""
    if parameter is None or before is None:
        return parameter is None and before is None
    values, address = before
    return torch.equal(parameter, values) if values.is_cpu else parameter.data_ptr() == address


def place_of(tensor: Tensor | None) -> int:
    """The address of a tensor's elements, which an assignment to its `data` changes."""
    return 0 if tensor is None else tensor.data_ptr()


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
