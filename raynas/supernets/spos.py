"""The SPOS supernet: ShuffleNetV2 blocks with four choices each (SPOS, section 4 and table 2).

With `channels=True` every choice comes in eight widths; see `supernets.spos_channels`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from torch import nn

from raynas.errors import require
from raynas.supernets.blocks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SHUFFLE_KERNELS,
    Normalize,
    ShuffleUnit,
    conv_bn,
)
from raynas.supernets.builder_options import (
    require_classes,
    require_dropout,
    require_pixels,
    require_sizes,
    require_stages,
)
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.sliced import SlicedConv2d
from raynas.supernets.spos_channels import BlockShape, channel_blocks, fixed_blocks

SPOS_STAGES = ((64, 4, 2), (160, 4, 2), (320, 8, 2), (640, 4, 2))
"""`(channels, blocks, stride of the first block)` of each stage at full size."""

SPOS_NAMES = tuple(SHUFFLE_KERNELS)
"""The choices of every block: kernels of 3, 5 and 7, and the Xception-like one."""


def choices_of_block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Choices 0 to 3: depthwise kernels 3, 5 and 7, and the Xception-like choice x."""
    return [
        ShuffleUnit(inputs, outputs, kernel, stride, xception=name == "x")
        for name, kernel in SHUFFLE_KERNELS.items()
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
    channels: bool = False,
    blocks: Sequence[str | int] | None = None,
) -> ChainSupernet:
    """Build the SPOS supernet; the defaults are the paper's, 20 blocks of 4 choices at 224².

    With `channels` the channels in the middle of every block are searched, too (section 4, "Search
    Space: Channels"): a choice is a pair such as `c3@0.6`, 32 in each block. What the widths are
    and what they share is told in `supernets.spos_channels`.

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
        channels: search the channels, too; the stages then have at least 12.
        blocks: with `channels`: the choice of every block, by name or index, or as a pair whose
            width is passed over. Each block then has the eight widths of that choice alone. The
            weights of a supernet without `blocks` can be loaded into one with them.

    Raises:
        InputError: no number of classes, a size below 1, channels that are not a multiple of 4 or
            too few to be searched, a stride other than 1 or 2, no probability, mean and std of
            another length than `image_channels`, or `blocks` without `channels`, of another
            number, or with a choice that there is not.
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
    # Files of supernets without these stay what they were.
    del recipe["channels"], recipe["blocks"]
    shapes = block_shapes(stem_channels, stages)
    fixed = fixed_blocks(channels, blocks, shapes)
    if channels:
        recipe |= {"channels": True, "blocks": fixed}
    stem = nn.Sequential(
        Normalize(mean, std, reverse_channels=reverse_channels),
        *conv_bn(image_channels, stem_channels, 3, stem_stride, relu=True),
    )
    names, choices = channel_blocks(shapes, fixed) if channels else plain_blocks(shapes)
    width = shapes[-1].outputs if shapes else stem_channels
    head = classifier(width, head_channels, dropout, require_classes(num_classes))
    shape = (image_channels, image_size, image_size)
    supernet = ChainSupernet(
        stem, choices, head, image_shape=shape, num_classes=num_classes, names=names, recipe=recipe
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


def plain_blocks(shapes: Sequence[BlockShape]) -> tuple[list[Sequence[str]], list[list[nn.Module]]]:
    """The names and the modules of the choices of every block."""
    return [SPOS_NAMES] * len(shapes), [choices_of_block(*astuple(shape)) for shape in shapes]


def block_shapes(inputs: int, stages: Sequence[Sequence[int]]) -> list[BlockShape]:
    """The shapes of the blocks of all stages.

    Args:
        inputs: the channels that the first block gets.
        stages: as those of `spos`.

    Raises:
        InputError: a stage that is too narrow.
    """
    shapes: list[BlockShape] = []
    for outputs, repeats, stride in stages:
        require(
            inputs % 2 == 0 and outputs > (inputs if stride == 2 else inputs // 2),
            "stages",
            f"more output channels than pass through a block with {inputs} input channels",
            outputs,
            "Widen the stage: all channels pass at stride 2, half of them at stride 1.",
        )
        for repeat in range(repeats):
            shapes.append(BlockShape(inputs, outputs, stride if repeat == 0 else 1))
            inputs = outputs
    return shapes


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
    """Kaiming initialisation of convolutions, small normal weights for linear layers.

    A weight that choices of several widths slice is drawn once, as that of the widest.
    """
    drawn: set[int] = set()
    for module in supernet.modules():
        if isinstance(module, nn.Conv2d | SlicedConv2d):
            if id(module.weight) not in drawn:
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_in))
                drawn.add(id(module.weight))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
