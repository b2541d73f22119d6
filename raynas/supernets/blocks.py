"""The operations that choice blocks and stems are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from raynas.errors import require_flags

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SHUFFLE_KERNELS: Mapping[str, int] = {"c3": 3, "c5": 5, "c7": 7, "x": 3}
"""The depthwise kernel of every choice of a SPOS block, in their order; x is Xception-like."""


@final
class Normalize(nn.Module):
    """Raw pixels to what the first convolution expects; the first layer of every stem.

    Keeping it inside the network lets shards stay uint8, and makes a checkpoint say what input it
    was trained on.

    Args:
        mean: one value per channel, of pixels scaled to [0, 1].
        std: one value per channel, of pixels scaled to [0, 1].
        reverse_channels: read RGB input as BGR, before mean and std apply.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, reverse_channels: bool = False
    ) -> None:
        super().__init__()
        require_flags(reverse_channels=reverse_channels)
        centre = torch.tensor(tuple(mean), dtype=torch.float32).view(1, -1, 1, 1)
        spread = torch.tensor(tuple(std), dtype=torch.float32).view(1, -1, 1, 1)
        self.reverse_channels = reverse_channels
        self.register_buffer("shift", centre * 255.0, persistent=False)
        self.register_buffer("scale", 1.0 / (spread * 255.0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, c, h, w]`, uint8 or float in [0, 255], to float32 of the same shape."""
        pixels = images.to(torch.float32)
        if self.reverse_channels:
            pixels = pixels.flip(1)
        return (pixels - self.shift) * self.scale


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, relu: bool
) -> list[nn.Module]:
    """Convolution, batch norm without affine parameters and, if asked, ReLU (SPOS supernets).

    As in the supernet that the authors released. The network that is retrained has gain and offset,
    and so they are counted among its parameters.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, affine=False),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return layers


def shuffle_branch(inputs: int, middle: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """The main branch of choices 3, 5 and 7 (SPOS, appendix 1)."""
    return nn.Sequential(
        *conv_bn(inputs, middle, relu=True),
        *conv_bn(middle, middle, kernel, stride, middle, relu=False),
        *conv_bn(middle, outputs, relu=True),
    )


def xception_branch(inputs: int, middle: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """The main branch of choice x: three depthwise-separable convolutions (SPOS, appendix 1)."""
    return nn.Sequential(
        *conv_bn(inputs, inputs, kernel, stride, inputs, relu=False),
        *conv_bn(inputs, middle, relu=True),
        *conv_bn(middle, middle, kernel, 1, middle, relu=False),
        *conv_bn(middle, middle, relu=True),
        *conv_bn(middle, middle, kernel, 1, middle, relu=False),
        *conv_bn(middle, outputs, relu=True),
    )


@final
class ShuffleUnit(nn.Module):
    """One choice of a SPOS block: a ShuffleNetV2 unit around a main branch.

    At stride 1 the even channels pass through and the odd ones go through the main branch; at
    stride 2 all channels go through both the main branch and a projection.

    Args:
        inputs: input channels; even at stride 1.
        outputs: output channels.
        kernel: depthwise kernel size.
        stride: 1 or 2.
        xception: the main branch of choice x instead of choices 3, 5, 7.
        middle: channels inside the main branch; half of the outputs if `None`.
    """

    branch_proj: nn.Sequential | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        xception: bool = False,
        middle: int | None = None,
    ) -> None:
        super().__init__()
        self.stride = stride
        passed = inputs if stride == 2 else inputs // 2
        branch = xception_branch if xception else shuffle_branch
        inside = outputs // 2 if middle is None else middle
        self.branch_main = branch(passed, inside, outputs - passed, kernel, stride)
        self.branch_proj = None
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *conv_bn(inputs, inputs, kernel, 2, inputs, relu=False),
                *conv_bn(inputs, inputs, relu=True),
            )

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h / stride, w / stride]`."""
        if self.branch_proj is None:
            return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)
        return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
