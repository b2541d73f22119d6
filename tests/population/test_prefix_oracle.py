"""The central oracle: behind any prefix, scores are those of one full forward after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_scoring import PlainScore, score_plainly
from random_chains import Scene, build_scene, population, random_shards, scenes

from raynas.evaluation import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.score import Score
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets import resnet_mixed_8x8, spos, spos_28x28
from raynas.supernets.chain import ChainSupernet, batch_norms
from raynas.workers.pool import LocalPool

POLICIES = ["recalibrate", "inherit"]


def open_evaluator(scene: Scene, protocol: Evaluation) -> PopulationEvaluator:
    pool = LocalPool(scene.supernet, protocol)
    return PopulationEvaluator(pool, Splits(scene.calibration, scene.validation), protocol, seed=0)


def around(scene: Scene, trunk: Architecture, count: int) -> list[Architecture]:
    """Candidates that leave the trunk at every depth."""
    depths = range(scene.supernet.space.blocks + 1)
    return [a for depth in depths for a in scene.candidates(count, trunk[:depth])]


def plain_scores(
    scene: Scene, architectures: Sequence[Architecture], batch_norm: str
) -> dict[Architecture, PlainScore]:
    calibration: list[Shard] = scene.calibration if batch_norm == "recalibrate" else []
    return {
        a: score_plainly(scene.supernet, a, calibration, scene.validation) for a in architectures
    }


def assert_plain(score: Score, plain: PlainScore) -> None:
    samples = len(plain.correct)
    assert (score.correct, score.samples) == (plain.correct.sum(), samples)
    assert score.top1 == score.correct / samples
    assert score.objectives["top5"] == plain.correct_top5.sum() / samples
    assert score.loss == pytest.approx(plain.losses.mean(dtype=np.float64), rel=1e-5, abs=1e-5)


@settings(max_examples=16)
@given(scenes, st.sampled_from(POLICIES))
@example(build_scene(15), "recalibrate")
def test_scores_behind_any_prefix_are_those_of_full_forwards(scene: Scene, batch_norm):
    trunk = scene.candidates(1)[0]
    candidates = around(scene, trunk, 2)
    plain = plain_scores(scene, candidates, batch_norm)
    known: dict[Architecture, Score] = {}
    for sharing in (True, False):
        protocol = Evaluation(batch_norm=batch_norm, prefix_sharing=sharing, device="cpu")
        for depth in range(len(trunk) + 1):
            evaluator = open_evaluator(scene, protocol)
            if depth > 0:
                evaluator.freeze(trunk[:depth], trunk)
            behind = [a for a in candidates if a[:depth] == trunk[:depth]]
            for score in evaluator.score(behind):
                assert_plain(score, plain[score.architecture])
                assert score == known.setdefault(score.architecture, score)


@settings(max_examples=20)
@given(scenes, st.sampled_from(POLICIES), st.data())
def test_freezing_in_steps_scores_as_full_forwards_do(scene: Scene, batch_norm, data):
    trunk = scene.candidates(1)[0]
    steps = data.draw(st.sets(st.integers(1, len(trunk)), min_size=1))
    candidates = around(scene, trunk, 2)
    protocol = Evaluation(batch_norm=batch_norm, device="cpu")
    evaluator = open_evaluator(scene, protocol)
    fresh = open_evaluator(scene, protocol)
    whole = {score.architecture: score for score in fresh.score(candidates)}
    for depth in sorted(steps):
        evaluator.freeze(trunk[:depth], trunk)
        behind = [a for a in candidates if a[:depth] == trunk[:depth]]
        assert evaluator.score_again(behind) == [whole[a] for a in behind]
        assert evaluator.prefix == trunk[:depth]
    assert evaluator.score_in_full(candidates) == [whole[a] for a in candidates]
    for architecture, plain in plain_scores(scene, candidates, batch_norm).items():
        assert_plain(whole[architecture], plain)


def scene_of(build: Callable[[], ChainSupernet]) -> Scene:
    """Random weights, statistics and samples of a supernet of this library."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = build().eval()
        for norm in batch_norms(supernet):
            norm.running_mean.normal_(0.0, 0.2)
            norm.running_var.uniform_(0.5, 2.0)
    calibration = random_shards(supernet, "calibration", 10, 5, seed=1)
    validation = random_shards(supernet, "validation", 14, 7, seed=2)
    return Scene(supernet, calibration, validation, seed=3)


@pytest.mark.parametrize("batch_norm", POLICIES)
@pytest.mark.parametrize(
    "build", [spos_28x28, lambda: spos(10, image_size=64)], ids=["28x28", "20 blocks"]
)
def test_the_spos_supernet_scores_alike_at_every_split_point(build, batch_norm):
    scene = scene_of(build)
    supernet = scene.supernet
    trunk = scene.candidates(1)[0]
    leaving = range(0, len(trunk), 3)
    candidates = [trunk, *(population(supernet, d, 1, trunk[:d])[0] for d in leaving)]
    plain = plain_scores(scene, candidates, batch_norm)
    evaluator = open_evaluator(scene, Evaluation(batch_norm=batch_norm, device="cpu"))
    whole = {score.architecture: score for score in evaluator.score(candidates)}
    for architecture in candidates:
        assert_plain(whole[architecture], plain[architecture])
    for depth in range(1, len(trunk) + 1):
        evaluator.freeze(trunk[:depth], trunk)
        behind = [a for a in candidates if a[:depth] == trunk[:depth]]
        assert evaluator.score_again(behind) == [whole[a] for a in behind]
    assert len({score.loss for score in whole.values()}) == len(set(candidates))


@pytest.mark.parametrize("batch_norm", POLICIES)
def test_few_bits_score_as_full_forwards_do(batch_norm: str) -> None:
    """Rounding makes steps of small differences: there had better be none."""
    bits, channels = ((1, 2), (2, 4), (4, 4)), (8, 12, 12, 16)
    scene = scene_of(
        lambda: resnet_mixed_8x8(bits=bits, widths=(0.5, 1.5), stage_channels=channels)
    )
    supernet = scene.supernet
    trunk = scene.candidates(1)[0]
    candidates = [trunk, *(population(supernet, d, 1, trunk[:d])[0] for d in (0, 3, 6))]
    plain = plain_scores(scene, candidates, batch_norm)
    evaluator = open_evaluator(scene, Evaluation(batch_norm=batch_norm, device="cpu"))
    whole = {score.architecture: score for score in evaluator.score(candidates)}
    for architecture in candidates:
        assert_plain(whole[architecture], plain[architecture])
    evaluator.freeze(trunk[:4], trunk)
    assert evaluator.score_again([trunk]) == [whole[trunk]]
