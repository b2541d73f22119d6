"""Random small supernets of every kind that a chain allows, with populations and shards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize

CLASSES = 4


class Widths(nn.Module):
    """A choice that uses the first `width` channels of convolutions that it shares."""

    def __init__(self, expand: nn.Conv2d, project: nn.Conv2d, width: int) -> None:
        super().__init__()
        self.expand, self.project, self.width = expand, project, width
        self.norm = nn.BatchNorm2d(project.out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.conv2d(x, self.expand.weight[: self.width]).relu()
        return self.norm(functional.conv2d(inner, self.project.weight[:, : self.width]))


class Shuffled(nn.Module):
    """A residual unit that shuffles its channels, which leaves them first in memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        groups = 2 if c % 2 == 0 else 1
        mixed = (x + self.conv(self.norm(x))).reshape(n, groups, c // groups, h, w)
        return mixed.transpose(1, 2).reshape(n, c, h, w)


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, affine=False, momentum=0.01),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 1),
        nn.BatchNorm2d(outputs, momentum=None),
    )


def plain(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A choice without batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.Dropout(0.5), nn.Hardswish())


def choices_of_block(
    rng: np.random.Generator, inputs: int, outputs: int, stride: int, earlier: list[nn.Module]
) -> list[nn.Module]:
    """One to four choices; `earlier` are modules of this shape that blocks before have used."""
    expand, project = nn.Conv2d(inputs, 6, 1), nn.Conv2d(6, outputs, 1)
    options: list[nn.Module] = [conv(inputs, outputs, kernel, stride) for kernel in (1, 3)]
    options.append(plain(inputs, outputs, stride))
    if stride == 1:
        options += [Widths(expand, project, width) for width in (2, 6)]
        if inputs == outputs:
            options += [nn.Identity(), Shuffled(inputs), *earlier]
    chosen = rng.permutation(len(options))[: rng.integers(1, 5)]
    return [options[index] for index in chosen]


def random_chain(seed: int) -> ChainSupernet:
    """A supernet of one to four blocks, in evaluation mode, with random weights and statistics."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels = int(rng.integers(1, 7))
        colours = int(rng.choice([1, 3]))
        stem = nn.Sequential(
            Normalize((0.4,) * colours, (0.3,) * colours),
            nn.Conv2d(colours, channels, 3, int(rng.integers(1, 3)), 1),
            nn.BatchNorm2d(channels),
        )
        blocks, earlier = [], []
        for _ in range(rng.integers(1, 5)):
            keeps_shape = rng.random() < 0.6
            outputs = channels if keeps_shape else int(rng.integers(1, 7))
            stride = 1 if keeps_shape else int(rng.integers(1, 3))
            blocks.append(choices_of_block(rng, channels, outputs, stride, earlier))
            earlier = blocks[-1][:1] if keeps_shape else []
            channels = outputs
        head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(channels),
            nn.Linear(channels, CLASSES),
        )
        size = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        supernet = ChainSupernet(
            stem, blocks, head, image_shape=(colours, *size), num_classes=CLASSES
        )
        scramble(supernet)
    return supernet.eval()


def with_blocks(supernet: ChainSupernet, blocks: list[list[nn.Module]]) -> ChainSupernet:
    """The same stem and head around other blocks, in evaluation mode."""
    return ChainSupernet(
        supernet.stem,
        blocks,
        supernet.head,
        image_shape=supernet.image_shape,
        num_classes=supernet.num_classes,
    ).eval()


def scramble(supernet: nn.Module) -> None:
    """Draw all weights and statistics from torch's global generator."""
    with torch.no_grad():
        for name, tensor in supernet.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                tensor.normal_(0.0, 0.5)


def random_shards(
    supernet: ChainSupernet, split: str, images: int, shard_size: int, seed: int
) -> list[Shard]:
    """Depth-0 shards of noise with random labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (images, *supernet.image_shape), dtype=np.uint8)
    labels = rng.integers(0, supernet.num_classes, images)
    return make_shards(pixels, labels, split=split, shard_size=shard_size)


def population(
    supernet: ChainSupernet, seed: int, count: int, prefix: Architecture = ()
) -> list[Architecture]:
    """Architectures that start with the prefix, repetitions among them."""
    rng = np.random.default_rng(seed)
    return [supernet.space.sample(rng, prefix) for _ in range(count)]


@dataclass(frozen=True)
class Scene:
    """A supernet and the shards that its candidates are scored on."""

    supernet: ChainSupernet
    calibration: list[Shard]
    validation: list[Shard]
    seed: int

    def candidates(self, count: int, prefix: Architecture = ()) -> list[Architecture]:
        return population(self.supernet, self.seed, count, prefix)


def build_scene(seed: int) -> Scene:
    """A scene that the seed alone determines: one to three shards of each split."""
    rng = np.random.default_rng(seed)
    supernet = random_chain(seed)
    calibration = random_shards(supernet, "calibration", int(rng.integers(4, 16)), 6, seed + 1)
    validation = random_shards(supernet, "validation", int(rng.integers(1, 16)), 6, seed + 2)
    return Scene(supernet, calibration, validation, seed)


scenes = st.integers(0, 2**31).map(build_scene)
"""Strategy: any scene."""
