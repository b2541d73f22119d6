"""Every supernet that the contract is tested on, small enough for milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from raynas.supernets import (
    ChainSupernet,
    Normalize,
    fairnas_28x28,
    greedynas_28x28,
    ponas_28x28,
    proxylessnas_28x28,
    resnet_mixed,
    spos,
)


class SharedConv(nn.Module):
    """A 1×1 and a depthwise convolution that choices of several widths slice."""

    def __init__(self, channels: int, widest: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, widest, 1, bias=False)
        self.depthwise = nn.Conv2d(widest, widest, 3, padding=1, groups=widest, bias=False)
        self.project = nn.Conv2d(widest, channels, 1, bias=False)


class Slice(nn.Module):
    """A choice that uses the first `width` channels of a shared convolution."""

    def __init__(self, shared: SharedConv, width: int, channels: int) -> None:
        super().__init__()
        self.shared = shared
        self.width = width
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.conv2d(x, self.shared.expand.weight[: self.width])
        weight = self.shared.depthwise.weight[: self.width]
        inner = functional.conv2d(inner, weight, padding=1, groups=self.width).relu()
        return self.norm(functional.conv2d(inner, self.shared.project.weight[:, : self.width]))


def head(channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def stem(channels: int) -> nn.Module:
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), reverse_channels=True)
    return nn.Sequential(normalize, nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels))


def sliced() -> ChainSupernet:
    """Choices of a block are widths of the same weights."""
    blocks = []
    for choices in (3, 2):
        shared = SharedConv(6, 4 * choices)
        blocks.append([Slice(shared, 4 * (c + 1), 6) for c in range(choices)])
    return ChainSupernet(stem(6), blocks, head(6, 4), image_shape=(3, 9, 9), num_classes=4)


def skipping() -> ChainSupernet:
    """Blocks of unequal numbers of choices, one of them the identity."""

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(5, 5, kernel, padding=kernel // 2), nn.BatchNorm2d(5), nn.ReLU(inplace=True)
        )

    blocks = [[nn.Identity(), conv(3)], [conv(1)], [conv(5), nn.Identity(), conv(3)]]
    return ChainSupernet(stem(5), blocks, head(5, 3), image_shape=(3, 8, 6), num_classes=3)


def small_spos() -> ChainSupernet:
    stages = ((8, 2, 2), (16, 2, 2))
    return spos(7, image_size=16, stem_channels=4, stages=stages, head_channels=24)


def grey_spos(**options: object) -> ChainSupernet:
    small = {
        "image_size": 8,
        "image_channels": 1,
        "stem_channels": 4,
        "stem_stride": 1,
        "stages": ((8, 1, 1), (12, 2, 2)),
        "head_channels": 16,
        "mean": (0.5,),
        "std": (0.25,),
    }
    return spos(5, **small | options)


def channel_spos(**options: object) -> ChainSupernet:
    """Pairs of operations and widths, in a block of each stride."""
    return grey_spos(**{"stages": ((12, 1, 1), (16, 1, 2)), "channels": True} | options)


INVERTED = {"image_size": 12, "stages": ((8, 2, 1), (12, 2, 2)), "head_channels": 16}


def small_greedynas() -> ChainSupernet:
    """Inverted bottlenecks with and without squeeze-and-excitation, and identity."""
    return greedynas_28x28(4, se=True, **INVERTED)


def small_mixed(**options: object) -> ChainSupernet:
    """Choices of bits and widths, one of them binary, on stages of which three have shortcuts."""
    small = {
        "image_size": 8,
        "image_channels": 1,
        "stem_channels": 4,
        "stem_kernel": 3,
        "stem_stride": 1,
        "stage_channels": (4, 6, 6, 8),
        "bits": ((1, 2), (3, 4)),
        "widths": (0.5, 1.5),
        "mean": (0.5,),
        "std": (0.25,),
    }
    return resnet_mixed(5, **small | options)


ZOO: dict[str, Callable[[], ChainSupernet]] = {
    "spos": small_spos,
    "greedynas": small_greedynas,
    "proxylessnas": lambda: proxylessnas_28x28(4, **INVERTED),
    "fairnas": lambda: fairnas_28x28(4, **INVERTED),
    "ponas": lambda: ponas_28x28(4, **INVERTED | {"stages": ((8, 1, 1), (12, 1, 2))}),
    "grey spos": grey_spos,
    "spos, channels": lambda: channel_spos(stages=((12, 1, 2),)),
    "spos, channels of fixed blocks": lambda: channel_spos(blocks=("c5", "x")),
    "mixed precision": small_mixed,
    "sliced": sliced,
    "skipping": skipping,
}


def scrambled(supernet: ChainSupernet, seed: int = 0) -> ChainSupernet:
    """The supernet in evaluation mode, with random weights and batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in supernet.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0.0, 0.3, generator=generator)
    return supernet.eval()


def random_images(supernet: ChainSupernet, count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *supernet.image_shape)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
