"""Inverted bottlenecks of MobileNetV2, and supernets whose choices are kinds of them.

ProxylessNAS, FairNAS and GreedyNAS search the same chain: a stem, a separable convolution, blocks
that choose kernel and expansion, and a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, final

from torch import Tensor, nn

from raynas.errors import require
from raynas.supernets.blocks import IMAGENET_MEAN, IMAGENET_STD, Normalize
from raynas.supernets.builder_options import (
    require_classes,
    require_dropout,
    require_pixels,
    require_sizes,
    require_stages,
)
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.spos import initialize

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)

MOBILE_STAGES = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""`(channels, blocks, stride of the first block)` of each stage of ProxylessNAS and GreedyNAS."""

SMALL_STAGES = ((16, 3, 1), (24, 4, 2), (40, 4, 2), (80, 1, 1))
"""The same for 28×28 images: 12 blocks behind a stem of stride 2."""

SQUEEZE = 4
"""The channels that squeeze-and-excitation scales, over those inside it."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


@final
class SqueezeExcitation(nn.Module):
    """Scales channels by what all positions together say of them.

    A quarter of the channels that it scales are inside it, as in MobileNetV3; GreedyNAS does not
    say how many there are.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // SQUEEZE, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // SQUEEZE, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, h, w]` to the same shape."""
        scaled: Tensor = x * self.gate(x)
        return scaled


@final
class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, and project; added to the input where shapes agree.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel: of the depthwise convolution.
        expansion: how many times more channels there are inside; at 1 nothing is expanded.
        stride: 1 or 2.
        se: whether squeeze-and-excitation follows the depthwise convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int, *,
        se: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        inside = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [conv(inputs, inside, 1), nn.ReLU6(inplace=True)]
        layers += [conv(inside, inside, kernel, stride, inside), nn.ReLU6(inplace=True)]
        if se:
            layers.append(SqueezeExcitation(inside))
        self.layers = nn.Sequential(*layers, conv(inside, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h / stride, w / stride]`."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


@final
@dataclass(frozen=True)
class Choices:
    """The choices that blocks offer; the first ones are the same in every block.

    Args:
        kernels: of depthwise convolutions.
        expansions: of channels; each with each kernel.
        se: whether each comes with squeeze-and-excitation as well.
        identity: whether a block may be left out where input and output have one shape.
    """

    kernels: tuple[int, ...] = KERNELS
    expansions: tuple[int, ...] = EXPANSIONS
    se: bool = False
    identity: bool = False

    def of_block(self, inputs: int, outputs: int, stride: int) -> dict[str, nn.Module]:
        """The choices of a block, by name: `e3k5`, `e6k7se`, `identity`."""
        found: dict[str, nn.Module] = {}
        for se in (False, True) if self.se else (False,):
            for expansion in self.expansions:
                for kernel in self.kernels:
                    name = f"e{expansion}k{kernel}{'se' if se else ''}"
                    found[name] = InvertedBottleneck(
                        inputs, outputs, kernel, expansion, stride, se=se
                    )
        if self.identity and stride == 1 and inputs == outputs:
            found["identity"] = nn.Identity()
        return found


@final
@dataclass(frozen=True)
class Macro:
    """Everything about a network of inverted bottlenecks but the choices of its blocks.

    Args:
        image_size: height and width of the images.
        image_channels: 3 for RGB, 1 for grey.
        stem_channels: output channels of the first 3×3 convolution.
        stem_stride: its stride.
        separable_channels: output channels of the separable convolution behind it.
        stages: `(channels, blocks, stride of the first block)` of each stage.
        head_channels: output channels of the last 1×1 convolution.
        dropout: probability, before the classifier.
        mean: of pixels scaled to [0, 1], one value per channel.
        std: of pixels scaled to [0, 1], one value per channel.

    Raises:
        InputError: a size below 1, a stage that is not channels, blocks and a stride of 1 or 2, no
            probability, or mean and std of another length than `image_channels`.
    """

    image_size: int = 224
    image_channels: int = 3
    stem_channels: int = 32
    stem_stride: int = 2
    separable_channels: int = 16
    stages: Sequence[Sequence[int]] = MOBILE_STAGES
    head_channels: int = 1280
    dropout: float = 0.0
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        names = ("image_size", "image_channels", "stem_channels", "stem_stride")
        sizes = (*names, "separable_channels", "head_channels")
        require_sizes(**{name: getattr(self, name) for name in sizes})
        require_stages(self.stages)
        require_dropout(self.dropout)
        require_pixels(self.mean, self.std, self.image_channels)

    def recipe(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return asdict(self) | {
            "stages": [list(stage) for stage in self.stages],
            "mean": list(self.mean),
            "std": list(self.std),
        }


SMALL = Macro(
    image_size=28,
    image_channels=1,
    stem_channels=16,
    separable_channels=8,
    stages=SMALL_STAGES,
    head_channels=160,
    mean=(0.2860,),
    std=(0.3530,),
)
"""A network for 28×28 grey images (Fashion-MNIST)."""


SMALLEST = replace(SMALL, image_size=8, stem_stride=1, stages=((16, 3, 1), (24, 4, 2), (40, 1, 1)))
"""A network for 8×8 grey images (digits): 8 blocks."""

COLOUR = replace(
    SMALL,
    image_size=32,
    image_channels=3,
    stem_stride=1,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
"""A network for 32×32 colour images (CIFAR): 12 blocks."""


def macro_for(channels: int, size: int) -> Macro:
    """A network for images: one of the small ones where they are small, else that of the papers.

    Args:
        channels: 3 for RGB, 1 for grey.
        size: height and width.
    """
    fitting = (each for each in (SMALLEST, SMALL, COLOUR) if size <= each.image_size)
    macro = next(fitting, Macro())
    if macro.image_channels != channels:
        mean, std = ((0.5,), (0.25,)) if channels == 1 else (IMAGENET_MEAN, IMAGENET_STD)
        macro = replace(macro, image_channels=channels, mean=mean, std=std)
    return replace(macro, image_size=size)


def changed(macro: Macro, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a macro, or the options that replace them."""
    return {each.name: getattr(macro, each.name) for each in fields(macro)} | dict(options)


def macro_of(options: Mapping[str, Any]) -> Macro:
    """A macro of options by name.

    Raises:
        InputError: as `Macro`, or an option that it does not have.
    """
    known = [each.name for each in fields(Macro)]
    unknown = [name for name in options if name not in known]
    require(not unknown, "options", f"some of {', '.join(known)}", unknown, "Mend the names.")
    return Macro(**options)


def build(
    num_classes: int | None, macro: Macro, choices: Choices, recipe: Mapping[str, Any]
) -> ChainSupernet:
    """Build a supernet of inverted bottlenecks.

    Args:
        num_classes: the number of logits.
        macro: everything but the blocks.
        choices: of every block.
        recipe: how its family builds it.

    Raises:
        InputError: no number of classes.
    """
    classes = require_classes(num_classes)
    stem = nn.Sequential(
        Normalize(macro.mean, macro.std),
        conv(macro.image_channels, macro.stem_channels, 3, macro.stem_stride),
        nn.ReLU6(inplace=True),
        InvertedBottleneck(macro.stem_channels, macro.separable_channels, 3, 1, 1),
    )
    blocks: list[dict[str, nn.Module]] = []
    inputs = macro.separable_channels
    for outputs, repeats, stride in macro.stages:
        for repeat in range(repeats):
            blocks.append(choices.of_block(inputs, outputs, stride if repeat == 0 else 1))
            inputs = outputs
    head = nn.Sequential(
        conv(inputs, macro.head_channels, 1),
        nn.ReLU6(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(macro.dropout),
        nn.Linear(macro.head_channels, classes),
    )
    supernet = ChainSupernet(
        stem,
        [list(block.values()) for block in blocks],
        head,
        image_shape=(macro.image_channels, macro.image_size, macro.image_size),
        num_classes=num_classes,
        recipe={**recipe, "num_classes": num_classes, **macro.recipe()},
        names=[list(block) for block in blocks],
    )
    initialize(supernet)
    return supernet
