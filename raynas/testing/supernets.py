"""Supernets and data so small that a whole search takes a second."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from raynas.data.splits import SearchData
from raynas.shards.shard import Shard, make_shards
from raynas.supernets import ChainSupernet, Normalize

CLASSES = 6
SHAPE = (1, 6, 6)
CHANNELS = 4


def small_supernet(seed: int = 0, *, blocks: int = 8, choices: int = 4) -> ChainSupernet:
    """A chain of small convolutions with random weights.

    Args:
        seed: of the weights; torch's own generator stays as it is.
        blocks: how many.
        choices: of each block; kernels of 1, 3, 5, …
    """

    def choice(index: int) -> nn.Module:
        kernel = 2 * index + 1
        return nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=index, bias=False),
            nn.BatchNorm2d(CHANNELS, affine=False),
            nn.ReLU(inplace=True),
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, CHANNELS, 3, 2, 1))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES))
        chain = [[choice(index) for index in range(choices)] for _ in range(blocks)]
        return ChainSupernet(stem, chain, head, image_shape=SHAPE, num_classes=CLASSES)


def small_data(seed: int = 0, *, test: int = 26) -> SearchData:
    """Random images with random labels: two calibration, three validation and two test shards.

    Args:
        seed: of the images and labels.
        test: the number of test images.
    """
    rng = np.random.default_rng(seed)

    def split(name: str, images: int, shard_size: int) -> list[Shard]:
        if images == 0:
            return []
        pixels = rng.integers(0, 256, (images, *SHAPE), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, images)
        return make_shards(pixels, labels, split=name, shard_size=shard_size)

    return SearchData(
        "noise",
        CLASSES,
        calibration=split("calibration", 32, 16),
        validation=split("validation", 62, 21),
        test=split("test", test, 13),
    )
