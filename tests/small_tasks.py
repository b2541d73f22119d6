"""Supernets and data of other tasks than classification, and their scores in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from block_zoo import plain_loop
from torch import Tensor, nn
from torch.nn import functional

import raynas
from raynas.data import SearchData
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize

SHAPE = (3, 6, 5)
PCF = raynas.PCFES(population=6, generations=6, top_k=3, threshold=0.6, monitor=2)
EA = raynas.EA(population=6, generations=2, top_k=3)


def closeness(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How close numbers are: the negative distance, and its square."""
    errors = (outputs[:, 0] - targets).abs()
    return -errors, errors**2


def pixel_accuracy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The share of pixels that are right, and their mean cross-entropy."""
    right = (outputs.argmax(1) == targets).float().mean((1, 2))
    return right, functional.cross_entropy(outputs, targets, reduction="none").mean((1, 2))


def conv_choices(channels: int) -> list[nn.Module]:
    """Two convolutions and one without batch norm."""
    return [
        *(
            nn.Sequential(
                nn.Conv2d(channels, channels, k, padding=k // 2), nn.BatchNorm2d(channels)
            )
            for k in (1, 3)
        ),
        nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Tanh()),
    ]


def image_supernet(head: nn.Module, blocks: int = 4) -> ChainSupernet:
    """Convolutions over images, without classes."""
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 4, 3, padding=1))
    chain = [conv_choices(4) for _ in range(blocks)]
    return ChainSupernet(stem, chain, head, image_shape=SHAPE)


def image_data(targets: str) -> SearchData:
    """Noise whose targets are numbers, or maps of three classes."""
    rng = np.random.default_rng(0)

    def split(name: str, count: int) -> list[Shard]:
        pixels = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
        if targets == "numbers":
            wanted = (pixels.mean((1, 2, 3)) / 25.0 - 5.0).astype(np.float32)
        else:
            wanted = (pixels[:, 0] // 86).astype(np.int64)
        return make_shards(pixels, wanted, split=name, shard_size=9)

    parts = {"calibration": split("calibration", 18), "validation": split("validation", 30)}
    return SearchData(targets, None, **parts, test=split("test", 10))


def regression() -> tuple[ChainSupernet, SearchData, raynas.PerSample]:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    task = raynas.PerSample(closeness, name="closeness")
    return image_supernet(head), image_data("numbers"), task


def segmentation() -> tuple[ChainSupernet, SearchData, raynas.PerSample]:
    torch.manual_seed(0)
    task = raynas.PerSample(pixel_accuracy, name="pixels")
    return image_supernet(nn.Conv2d(4, 3, 1)), image_data("maps"), task


TASKS = {"regression": regression, "segmentation": segmentation}


def plain_score(
    supernet: ChainSupernet,
    architecture: Architecture,
    task: raynas.Task,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
) -> tuple[float, float]:
    """The mean score and loss of one candidate that is recalibrated shard by shard."""

    def judge(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        values, losses = task.judge(outputs[None], targets)
        return values[task.objectives[0]][0], losses[0]

    found = plain_loop(supernet, architecture, calibration, validation, judge)
    return found.score, found.loss
