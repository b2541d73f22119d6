"""ResNets whose blocks choose bits and widths (SPOS, section 4, figure 5 and table 6).

A choice is the bits of weights and activations, the same in all convolutions of the block, and the
width of its bottleneck: the outputs of its first 3×3 convolution, as a multiple of those that
ResNets have. The first convolution and the classifier are in full precision.

All choices of a block are slices of weights that are as wide as the widest of them, whatever their
bits are. Batch norms are of each choice alone: the same weights in other bits give activations of
another scale. They have no gain and offset, as SPOS's supernets, and their statistics are
recalibrated for each architecture, since in training each choice follows any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from raynas.errors import is_whole, require, require_flags
from raynas.supernets.blocks import IMAGENET_MEAN, IMAGENET_STD, Normalize, conv_bn
from raynas.supernets.builder_options import (
    is_list,
    require_classes,
    require_pixels,
    require_sizes,
)
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.mixed_blocks import as_bits, as_widths, choices_of_block
from raynas.supernets.quantizers import require_level
from raynas.supernets.spos import initialize

MIXED_BITS = ((1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4))
"""The paper's choices of bits: of weights, and of activations."""

BOTTLENECK_WIDTHS = (0.5, 1.0, 1.5)
"""The paper's choices of the channels between a block's two convolutions, as multiples."""

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""The blocks of each stage, by depth."""

STAGE_CHANNELS = (64, 128, 256, 512)
"""The output channels of each stage; all but the first one halve height and width."""

ALPHA = 3.0
"""Clipping levels at the start. Batch norms without a gain give a deviation of 1, of which little
is above 3; from the 10 of which PACT starts, two bits would round nearly all of it to 0."""


def resnet_mixed(
    num_classes: int | None = 1000,
    *,
    depth: int = 18,
    image_size: int = 224,
    image_channels: int = 3,
    stem_channels: int = 64,
    stem_kernel: int = 7,
    stem_stride: int = 2,
    stem_pool: bool = True,
    stage_channels: Sequence[int] = STAGE_CHANNELS,
    bits: Sequence[Sequence[int]] = MIXED_BITS,
    widths: Sequence[float] = BOTTLENECK_WIDTHS,
    alpha: float = ALPHA,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> ChainSupernet:
    """Build a ResNet of mixed precision; the defaults are the paper's, 8 blocks of 18 choices.

    Choices are named by their bits and width, `w2a4@1.0`: the paper's baseline of 2 bits
    everywhere (2W2A) is `supernet.encode(["w2a2@1.0"] * 8)`, that of 4 bits likewise. The paper's
    six pairs of bits lack (3, 3): for 3W3A, build it with `bits=(*MIXED_BITS, (3, 3))`.

    Args:
        num_classes: the number of logits.
        depth: 18 (8 blocks) or 34 (16 blocks).
        image_size: height and width of the images.
        image_channels: 3 for RGB, 1 for grey.
        stem_channels: output channels of the first convolution, which is in full precision.
        stem_kernel: its kernel size.
        stem_stride: its stride.
        stem_pool: whether it is followed by a 3×3 maximum of stride 2.
        stage_channels: output channels of the blocks of each of the four stages.
        bits: the choices of bits, of weights and of activations, 1 to 8 each.
        widths: the choices of channels between the two convolutions of a block, each a multiple of
            the stage's.
        alpha: the clipping levels of activations at the start.
        mean: of pixels scaled to [0, 1], one value per channel.
        std: of pixels scaled to [0, 1], one value per channel.

    Raises:
        InputError: no number of classes, another depth, a size below 1, no bits or widths, others
            than these, any twice, or a width that gives no whole number of channels.
    """
    classes = require_classes(num_classes)
    require_depth(depth)
    require_sizes(image_size=image_size, image_channels=image_channels, stem_channels=stem_channels)
    require_sizes(stem_kernel=stem_kernel, stem_stride=stem_stride)
    require_flags(stem_pool=stem_pool)
    require_channels(stage_channels)
    pairs, multiples = as_bits(bits), as_widths(widths, stage_channels)
    require_level(alpha)
    require_pixels(mean, std, image_channels)
    recipe = {
        "builder": "resnet_mixed", "num_classes": num_classes, "depth": depth,
        "image_size": image_size, "image_channels": image_channels,
        "stem_channels": stem_channels, "stem_kernel": stem_kernel, "stem_stride": stem_stride,
        "stem_pool": stem_pool, "stage_channels": list(stage_channels),
        "bits": [list(pair) for pair in pairs], "widths": list(multiples), "alpha": alpha,
        "mean": list(mean), "std": list(std),
    }  # fmt: skip
    stem = nn.Sequential(
        Normalize(mean, std),
        *conv_bn(image_channels, stem_channels, stem_kernel, stem_stride, relu=True),
        *([nn.MaxPool2d(3, 2, 1)] if stem_pool else []),
    )
    blocks, inputs = [], stem_channels
    for stage, (outputs, repeats) in enumerate(zip(stage_channels, REPEATS[depth], strict=True)):
        for repeat in range(repeats):
            stride = 2 if stage > 0 and repeat == 0 else 1
            blocks.append(choices_of_block(inputs, outputs, stride, pairs, multiples, alpha))
            inputs = outputs
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
    supernet = ChainSupernet(
        stem,
        [list(block.values()) for block in blocks],
        head,
        image_shape=(image_channels, image_size, image_size),
        num_classes=num_classes,
        names=[list(block) for block in blocks],
        recipe=recipe,
    )
    initialize(supernet)
    return supernet


def require_depth(depth: object) -> None:
    """Raise `InputError` unless there is a ResNet of basic blocks of this depth."""
    require(
        is_whole(depth) and depth in REPEATS,
        "depth",
        "18 or 34, the ResNets of basic blocks",
        repr(depth),
        "Choose one of them.",
    )


def require_channels(channels: Any) -> None:
    """Raise `InputError` unless there are channels for each of the four stages."""
    require(
        is_list(channels)
        and len(channels) == len(STAGE_CHANNELS)
        and all(is_whole(each) and each >= 1 for each in channels),
        "stage_channels",
        "four whole numbers of at least 1",
        repr(channels),
        "Write stage_channels=(64, 128, 256, 512).",
    )


def resnet_mixed_8x8(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 8×8 grey images (digits): 8 blocks of 18 choices.

    Args:
        num_classes: the number of logits.
        options: of `resnet_mixed`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 8,
        "image_channels": 1,
        "stem_channels": 16,
        "stem_kernel": 3,
        "stem_stride": 1,
        "stem_pool": False,
        "stage_channels": (16, 24, 32, 48),
        "mean": (0.3053,),
        "std": (0.3759,),
    }
    return resnet_mixed(num_classes, **variant | options)


def resnet_mixed_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 8 blocks of 18 choices.

    Args:
        num_classes: the number of logits.
        options: of `resnet_mixed`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 28,
        "image_channels": 1,
        "stem_channels": 16,
        "stem_kernel": 3,
        "stem_pool": False,
        "stage_channels": (16, 24, 48, 96),
        "mean": (0.2860,),
        "std": (0.3530,),
    }
    return resnet_mixed(num_classes, **variant | options)


def resnet_mixed_32x32(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 32×32 colour images (CIFAR): 8 blocks of 18 choices.

    Args:
        num_classes: the number of logits.
        options: of `resnet_mixed`, instead of this variant's.
    """
    variant: dict[str, Any] = {
        "image_size": 32,
        "stem_channels": 32,
        "stem_kernel": 3,
        "stem_stride": 1,
        "stem_pool": False,
        "stage_channels": (32, 64, 128, 256),
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2470, 0.2435, 0.2616),
    }
    return resnet_mixed(num_classes, **variant | options)
