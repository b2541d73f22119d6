"""Batch norms that run more often for some batches than for others, against torch's `update_bn`."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_chains import CLASSES, Scene, scramble
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard, make_shards
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain import batch_norms
from raynas.workers.pool import LocalPool

WIDTH, PART = 4, 3


class InParts(nn.Module):
    """Normalises parts of its batch by themselves; another layer takes the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.parts = nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.whole(x)
        if not self.parts.training:
            return self.parts(x)
        return torch.cat([self.normalise(part) for part in x.split(PART)])

    def normalise(self, x: Tensor) -> Tensor:
        y: Tensor = self.parts(x)
        return y


class ByFunction(InParts):
    """Calls the function on the buffers of the layer, and counts by itself."""

    def normalise(self, x: Tensor) -> Tensor:
        norm = self.parts
        norm.num_batches_tracked.add_(1)
        share = norm.momentum or 1.0 / float(norm.num_batches_tracked)
        mean, variance = norm.running_mean, norm.running_var
        return F.batch_norm(x, mean, variance, norm.weight, norm.bias, True, share)


class OfNumbers(InParts):
    """Runs with a number for the momentum alone, but for which plain recalibration has a word."""

    counts = False

    def normalise(self, x: Tensor) -> Tensor:
        if self.parts.momentum is None and not self.counts:
            raise TypeError("momentum is no number")
        return super().normalise(x)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "in parts": InParts,
    "by a function": ByFunction,
    "of numbers": OfNumbers,
}


def shards(split: str, sizes: tuple[int, ...]) -> list[Shard]:
    """Shards of noise, brighter from one to the next."""
    rng = np.random.default_rng(1)
    found = []
    for place, size in enumerate(sizes, start=1):
        pixels = rng.integers(0, 60 * place, (size, 3, 5, 5), dtype=np.uint8)
        found += make_shards(pixels, rng.integers(0, CLASSES, size), split=split, shard_size=size)
    return found


def scene_of(kind: str) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, WIDTH, 1))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
        blocks = [[KINDS[kind](), nn.Identity()] for _ in range(2)]
        supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 5, 5), num_classes=CLASSES)
        scramble(supernet)
    calibration = shards("calibration", (9, 6, 2))
    return Scene(supernet.eval(), calibration, shards("validation", (8, 8)), 0)


def updated(scene: Scene, architecture: tuple[int, ...]) -> nn.Module:
    """The subnet alone, after torch's recalibration."""
    subnet = copy.deepcopy(scene.supernet.subnet(architecture))
    for part in subnet.modules():
        if isinstance(part, OfNumbers):
            part.counts = True
    update_bn([torch.tensor(shard.features) for shard in scene.calibration], subnet)
    return subnet.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_means_over_calls(kind: str) -> None:
    scene = scene_of(kind)
    protocol = Evaluation(device="cpu")
    architecture = (0, 0)
    plain = updated(scene, architecture)
    pool = LocalPool(scene.supernet, protocol)
    splits = Splits(scene.calibration, scene.validation)
    evaluator = PopulationEvaluator(pool, splits, protocol, 0)
    found = evaluator.statistics(architecture)
    expected = batch_stats.read(batch_norms(plain), torch.device("cpu")).numpy()
    vectors = np.concatenate([found[path] for path in ((0,), (0, 0))])
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        losses = [
            F.cross_entropy(plain(torch.tensor(s.features)), torch.tensor(s.labels)).item()
            for s in scene.validation
        ]
    before = evaluator.score([architecture])
    assert before[0].loss == pytest.approx(np.mean(losses), rel=1e-5)
    evaluator.freeze((0,), architecture)
    assert evaluator.score_again([architecture]) == before
