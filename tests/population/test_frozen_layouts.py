"""Activations of any layout: a score is the same to the bit before a freeze and behind it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from random_chains import CLASSES, Scene
from small_population import open_evaluator
from torch import Tensor, nn

from raynas.inputs import Inputs
from raynas.shards.shard import Shard, make_shards
from raynas.supernets import ChainSupernet

TOKENS, FEATURES, WIDTH = 9, 520, 576


class Transposed(nn.Module):
    """Mixes tokens, and passes on a view that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(TOKENS, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.transpose(1, 2)).transpose(1, 2)


class Averaged(nn.Module):
    """Feature maps of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1, groups=WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3), keepdim=True)


class MeanToken(nn.Module):
    """Classes from the mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(x.mean(1))


def pooled(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def noise(shape: tuple[int, ...]) -> list[Shard]:
    rng = np.random.default_rng(2)
    samples = rng.normal(size=(60, *shape)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 60)
    return make_shards(samples, labels, split="validation", shard_size=30)


def tokens() -> ChainSupernet:
    blocks = [[Transposed(), nn.Linear(FEATURES, FEATURES)] for _ in range(3)]
    inputs = Inputs((TOKENS, FEATURES), "float32")
    stem = nn.Linear(FEATURES, FEATURES)
    return ChainSupernet(stem, blocks, MeanToken(), inputs=inputs, num_classes=CLASSES)


def single_pixels() -> ChainSupernet:
    stem = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1))
    blocks = [[Averaged(), nn.GroupNorm(1, WIDTH)] for _ in range(3)]
    inputs = Inputs((3, 6, 6), "float32")
    return ChainSupernet(stem, blocks, pooled(WIDTH), inputs=inputs, num_classes=CLASSES)


def single_channels() -> ChainSupernet:
    blocks = [[nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)] for _ in range(3)]
    inputs = Inputs((3, 8, 8), "float32")
    stem = nn.Conv2d(3, 1, 3, padding=1)
    return ChainSupernet(stem, blocks, pooled(1), inputs=inputs, num_classes=CLASSES)


@pytest.mark.parametrize("build", [tokens, single_pixels, single_channels])
def test_scores_before_and_behind_a_freeze_have_equal_bits(
    build: Callable[[], ChainSupernet],
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = build().eval()
    scene = Scene(supernet, [], noise(supernet.inputs.shape), 0)
    for first in range(2):
        candidates = [(first, b, c) for b in range(2) for c in range(2)]
        evaluator = open_evaluator(scene, batch_norm="inherit")
        before = evaluator.score(candidates)
        evaluator.freeze((first,), candidates[0])
        assert evaluator.score_again(candidates) == before
