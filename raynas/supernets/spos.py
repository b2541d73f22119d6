"""The SPOS supernet: ShuffleNetV2 blocks with four choices each (SPOS, section 4 and table 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from raynas.errors import require
from raynas.supernets.blocks import IMAGENET_MEAN, IMAGENET_STD, Normalize, ShuffleUnit, conv_bn
from raynas.supernets.builder_options import (
    require_classes,
    require_dropout,
    require_pixels,
    require_sizes,
    require_stages,
)
from raynas.supernets.chain import ChainSupernet

SPOS_STAGES = ((64, 4, 2), (160, 4, 2), (320, 8, 2), (640, 4, 2))
"""`(channels, blocks, stride of the first block)` of each stage at full size."""

SPOS_NAMES = ("c3", "c5", "c7", "x")
"""The choices of every block: kernels of 3, 5 and 7, and the Xception-like one."""


def choices_of_block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Choices 0 to 3: depthwise kernels 3, 5 and 7, and the Xception-like choice x."""
    return [
        ShuffleUnit(inputs, outputs, 3, stride),
        ShuffleUnit(inputs, outputs, 5, stride),
        ShuffleUnit(inputs, outputs, 7, stride),
        ShuffleUnit(inputs, outputs, 3, stride, xception=True),
    ]


def spos(
    num_classes: int | None = 1000,
    *,
    image_size: int = 224,
    image_channels: int = 3,
    stem_channels: int = 16,
    stem_stride: int = 2,
    stages: Sequence[Sequence[int]] = SPOS_STAGES,
    head_channels: int = 1024,
    dropout: float = 0.1,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    reverse_channels: bool = False,
) -> ChainSupernet:
    """Build the SPOS supernet; the defaults are the paper's, 20 blocks of 4 choices at 224².

    Args:
        num_classes: the number of logits.
        image_size: height and width of the images.
        image_channels: 3 for RGB, 1 for grey.
        stem_channels: output channels of the first 3×3 convolution.
        stem_stride: its stride.
        stages: `(channels, blocks, stride of the first block)` of each stage, channels a multiple
            of 4.
        head_channels: output channels of the last 1×1 convolution.
        dropout: probability, before the classifier.
        mean: of pixels scaled to [0, 1], one value per channel.
        std: of pixels scaled to [0, 1], one value per channel.
        reverse_channels: read RGB images as BGR.

    Raises:
        InputError: no number of classes, a size below 1, channels that are not a multiple of 4, a
            stride other than 1 or 2, no probability, or mean and std of another length than
            `image_channels`.
    """
    require_classes(num_classes)
    require_sizes(image_size=image_size, image_channels=image_channels)
    require_sizes(stem_channels=stem_channels, stem_stride=stem_stride, head_channels=head_channels)
    require_dropout(dropout)
    require_stages(stages, multiple=4)
    require_pixels(mean, std, image_channels)
    # All arguments, as JSON holds them.
    recipe = {"builder": "spos", **locals(), "stages": [list(stage) for stage in stages]}
    recipe |= {"mean": list(mean), "std": list(std)}
    stem = nn.Sequential(
        Normalize(mean, std, reverse_channels=reverse_channels),
        *conv_bn(image_channels, stem_channels, 3, stem_stride, relu=True),
    )
    blocks = choice_blocks(stem_channels, stages)
    channels = stages[-1][0] if stages else stem_channels
    head = classifier(channels, head_channels, dropout, require_classes(num_classes))
    shape = (image_channels, image_size, image_size)
    names = [SPOS_NAMES] * len(blocks)
    supernet = ChainSupernet(
        stem, blocks, head, image_shape=shape, num_classes=num_classes, names=names, recipe=recipe
    )
    initialize(supernet)
    return supernet


def classifier(inputs: int, channels: int, dropout: float, num_classes: int) -> nn.Sequential:
    """The last 1×1 convolution, and logits of the means of its outputs."""
    return nn.Sequential(
        *conv_bn(inputs, channels, relu=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, num_classes, bias=False),
    )


def choice_blocks(inputs: int, stages: Sequence[Sequence[int]]) -> list[list[nn.Module]]:
    """The choices of every block of all stages.

    Args:
        inputs: the channels that the first block gets.
        stages: as those of `spos`.

    Raises:
        InputError: a stage that is too narrow.
    """
    blocks: list[list[nn.Module]] = []
    for outputs, repeats, stride in stages:
        require(
            inputs % 2 == 0 and outputs > (inputs if stride == 2 else inputs // 2),
            "stages",
            f"more output channels than pass through a block with {inputs} input channels",
            outputs,
            "Widen the stage: all channels pass at stride 2, half of them at stride 1.",
        )
        for repeat in range(repeats):
            blocks.append(choices_of_block(inputs, outputs, stride if repeat == 0 else 1))
            inputs = outputs
    return blocks


def spos_8x8(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 8×8 grey images (digits): 8 blocks of 4 choices.

    Args:
        num_classes: the number of logits.
        options: of `spos`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 8,
        "image_channels": 1,
        "stem_stride": 1,
        "stages": ((32, 4, 1), (64, 4, 2)),
        "head_channels": 128,
        "mean": (0.3053,),
        "std": (0.3759,),
    }
    return spos(num_classes, **variant | options)


def spos_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 12 blocks of 4 choices.

    Args:
        num_classes: the number of logits.
        options: of `spos`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 28,
        "image_channels": 1,
        "stages": ((32, 4, 1), (64, 4, 2), (128, 4, 2)),
        "head_channels": 256,
        "mean": (0.2860,),
        "std": (0.3530,),
    }
    return spos(num_classes, **variant | options)


def spos_32x32(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 32×32 colour images (CIFAR): 12 blocks of 4 choices.

    Args:
        num_classes: the number of logits.
        options: of `spos`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 32,
        "stem_stride": 1,
        "stages": ((64, 4, 2), (128, 4, 2), (256, 4, 2)),
        "head_channels": 512,
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2470, 0.2435, 0.2616),
    }
    return spos(num_classes, **variant | options)


def initialize(supernet: nn.Module) -> None:
    """Kaiming initialisation of convolutions, small normal weights for linear layers."""
    for module in supernet.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_in))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
