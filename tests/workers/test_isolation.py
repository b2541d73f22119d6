"""Candidates do not change each other's scores, nor the user's supernet."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes
from small_population import open_evaluator
from torch import Tensor, nn

from raynas.evaluation import Evaluation
from raynas.supernets import ChainSupernet, Normalize, digest
from raynas.workers.pool import LocalPool


class Poison(nn.Module):
    """A choice whose output is not finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


def poisoned(value: float) -> Scene:
    """Three blocks; the last choice of the first two is poison."""

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2), nn.BatchNorm2d(4))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 4, 3))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
        blocks = [[conv(1), conv(3), Poison(value)] for _ in range(2)] + [[conv(1), conv(3)]]
        supernet = ChainSupernet(
            stem, blocks, head, image_shape=(1, 6, 6), num_classes=CLASSES
        ).eval()
    calibration = random_shards(supernet, "calibration", 9, 5, seed=1)
    return Scene(supernet, calibration, random_shards(supernet, "validation", 13, 5, seed=2), 0)


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_candidates_that_are_not_finite_are_marked_and_change_no_other(value, batch_norm, sharing):
    scene = poisoned(value)
    everyone = list(scene.supernet.space.enumerate())
    clean = [a for a in everyone if 2 not in a]
    options = {"batch_norm": batch_norm, "prefix_sharing": sharing}
    alone = open_evaluator(scene, **options).score(clean)
    together = {s.architecture: s for s in open_evaluator(scene, **options).score(everyone)}
    assert [together[a] for a in clean] == alone
    assert all(score.finite for score in alone)
    for architecture in set(everyone) - set(clean):
        assert not together[architecture].finite
        assert together[architecture].loss == float("inf")
        assert 0.0 <= together[architecture].top1 <= 1.0


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_poison_in_a_frozen_prefix_is_still_noticed(bits):
    scene = poisoned(float("inf"))
    evaluator = open_evaluator(scene, bits=bits)
    evaluator.freeze((2,), (2, 0, 0))
    assert [score.finite for score in evaluator.score([(2, 0, 0), (2, 1, 1)])] == [False, False]


@settings(max_examples=15)
@given(scenes, st.randoms(use_true_random=False))
def test_scores_depend_neither_on_the_order_nor_on_the_company(scene: Scene, random):
    population = scene.candidates(6)
    evaluator = open_evaluator(scene)
    known = {score.architecture: score for score in evaluator.score(population)}
    shuffled = random.sample(population, len(population))
    assert evaluator.score_again(shuffled) == [known[a] for a in shuffled]
    assert [evaluator.score_again([a])[0] for a in population] == [known[a] for a in population]


class Claims(LocalPool):
    """Says that it has many workers, so that populations are cut into parts."""

    workers = 16


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@settings(max_examples=10)
@given(scene=scenes)
def test_scores_do_not_depend_on_how_the_population_is_cut(batch_norm, scene):
    protocol = Evaluation(batch_norm=batch_norm, device="cpu")
    pools = [kind(scene.supernet, protocol) for kind in (LocalPool, Claims)]
    whole, cut = (open_evaluator(scene, pool, batch_norm=batch_norm) for pool in pools)
    population = scene.candidates(9)
    assert cut.score(population) == whole.score(population)
    assert cut.counters.block_forwards >= whole.counters.block_forwards


def test_the_users_supernet_is_left_as_it_was():
    scene = build_scene(7)
    supernet = scene.supernet
    supernet.train()
    marks = copy.deepcopy({name: vars(m).get("momentum") for name, m in supernet.named_modules()})
    tensors = {name: (t.data_ptr(), t.stride()) for name, t in supernet.state_dict().items()}
    before = digest(supernet)
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, held_out=scene.validation, sample_rate=0.5, bits=16)
    evaluator.score(scene.candidates(3))
    evaluator.freeze(trunk[:1], trunk)
    evaluator.score(scene.candidates(3, trunk[:1]))
    evaluator.score_in_full([trunk])
    evaluator.test(trunk)
    assert digest(supernet) == before
    assert all(module.training for module in supernet.modules())
    assert {n: vars(m).get("momentum") for n, m in supernet.named_modules()} == marks
    after = {name: (t.data_ptr(), t.stride()) for name, t in supernet.state_dict().items()}
    assert after == tensors
