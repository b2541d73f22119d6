"""Convolutions that compute with a slice of a weight, which choices of several widths share.

SPOS, section 4 and figure 4: one weight is allocated for the widest choice, and a choice of fewer
channels computes with `weight[:c_out, :c_in]`.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import InputError, is_whole, require

Pair = tuple[int, int]


@final
class SlicedConv2d(nn.Module):
    """A convolution without bias whose weight is `weight[:outputs, :inputs / groups]`.

    The weight is a parameter under its own name here; given to several modules, it is one parameter
    of the supernet, which optimizers update and checkpoints hold once. Its gradient is zero beyond
    the slices that took part. The costs are those of the slice, and an exported subnet has an
    `nn.Conv2d` with a copy of the slice instead.

    Args:
        weight: `[most outputs, most inputs, height, width]`, or `[most channels, 1, height, width]`
            where it is depthwise.
        outputs: the number of output channels.
        inputs: the number of input channels.
        stride: of both axes, or of each.
        padding: zeros at each end of both axes, or of each.
        groups: 1, or as many as inputs and outputs (depthwise).

    Raises:
        InputError: no such weight, one that is too small, or other groups.
    """

    weight: nn.Parameter

    def __init__(
        self,
        weight: nn.Parameter,
        outputs: int,
        inputs: int,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        require(
            isinstance(weight, nn.Parameter) and weight.dim() == 4,
            "weight",
            "a parameter [outputs, inputs, height, width]",
            f"{type(weight).__name__} {list(getattr(weight, 'shape', ()))}",
            "Allocate it for the widest choice.",
        )
        require(
            groups == 1 or groups == inputs == outputs,
            "groups",
            f"1, or as many as the channels, {outputs} outputs and {inputs} inputs",
            groups,
            "Groups of several channels would be others in each width.",
        )
        most = (weight.shape[0], weight.shape[1] * groups)
        for name, count, limit in zip(("outputs", "inputs"), (outputs, inputs), most, strict=True):
            require(
                is_whole(count) and 1 <= count <= limit,
                name,
                f"from 1 to {limit}, of a weight {list(weight.shape)}",
                repr(count),
                "Slice fewer channels, or allocate more.",
            )
        self.weight = weight
        self.outputs = int(outputs)
        self.inputs = int(inputs)
        self.stride = pair_of(stride)
        self.padding = pair_of(padding)
        self.groups = int(groups)

    def sliced_weight(self) -> Tensor:
        """A view of the slice, `[outputs, inputs / groups, height, width]`."""
        return self.weight[: self.outputs, : self.inputs // self.groups]

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve with a weight of the slice's shape, such as a quantized one."""
        return F.conv2d(x, weight, None, self.stride, self.padding, 1, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h', w']`."""
        return self.convolve(x, self.sliced_weight())

    def raynas_cost(self, x: Tensor) -> tuple[int, int]:
        """Multiply-accumulates on an input, and parameters, of the slice."""
        parameters = self.sliced_weight().numel()
        sizes = zip(x.shape[-2:], self.weight.shape[2:], self.stride, self.padding, strict=True)
        pixels = x.numel() // (self.inputs * x.shape[-2] * x.shape[-1])
        for size, kernel, stride, padding in sizes:
            pixels *= (size + 2 * padding - kernel) // stride + 1
        return pixels * parameters, parameters

    def raynas_plain(self) -> nn.Conv2d:
        """A convolution of its own, with a copy of the slice."""
        own = self.sliced_weight().detach().clone(memory_format=torch.contiguous_format)
        height, width = self.weight.shape[2:]
        # Without data, so that no random numbers are drawn for weights that are replaced.
        with torch.device("meta"):
            conv = nn.Conv2d(
                self.inputs,
                self.outputs,
                (height, width),
                self.stride,
                self.padding,
                groups=self.groups,
                bias=False,
            )
        conv.weight = nn.Parameter(own, requires_grad=self.weight.requires_grad)
        return conv.train(self.training)

    def extra_repr(self) -> str:
        """The slice, and what it is a slice of."""
        return (
            f"{self.inputs}, {self.outputs}, of {list(self.weight.shape)}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}"
        )


def slice_convolutions(module: nn.Module, widest: nn.Module) -> None:
    """Replace every convolution in a module by a slice of the one at its place in a wider one.

    Args:
        module: changed in place, but for its batch norms, which are of its own width.
        widest: a module of the same layers with at least as many channels; it is not changed, and
            its weights are the ones that are shared.

    Raises:
        InputError: other layers there, fewer channels, or convolutions with bias, dilation or
            another padding than zeros.
    """
    for name, conv in list(module.named_modules()):
        if not isinstance(conv, nn.Conv2d):
            continue
        shared = dict(widest.named_modules()).get(name)
        plain = conv.bias is None and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
        if not (
            isinstance(shared, nn.Conv2d)
            and name
            and plain
            and isinstance(conv.padding, tuple)
            and shared.kernel_size == conv.kernel_size
        ):
            raise InputError(
                name or "module",
                "a convolution inside both modules, with one kernel, and no bias or dilation",
                f"{conv} and {shared}",
                "Build both with the same layers.",
            )
        parent, _, own = name.rpartition(".")
        weight: Any = shared.weight
        geometry: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding}
        channels = (conv.out_channels, conv.in_channels)
        sliced = SlicedConv2d(weight, *channels, groups=conv.groups, **geometry)
        setattr(module.get_submodule(parent), own, sliced)


def pair_of(value: int | Pair) -> Pair:
    """Two numbers, one for each axis."""
    if is_whole(value):
        return int(value), int(value)
    assert isinstance(value, tuple)
    first, second = value
    return int(first), int(second)
