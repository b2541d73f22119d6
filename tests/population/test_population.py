"""`PopulationEvaluator`: samples, storage, held-out shards, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import as_outcomes, calibrated_copy, score_plainly
from random_chains import Scene, random_shards, scenes
from small_population import SEED, open_evaluator, small_spos

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.selection import select_samples, select_weighted
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets.chain import batch_norms
from raynas.workers.calls import Call
from raynas.workers.pool import LocalPool


@pytest.mark.parametrize("mode", ["top", "weighted", "random"])
@settings(max_examples=8)
@given(scene=scenes, percent=st.integers(20, 90))
def test_after_the_first_freeze_scores_are_those_of_the_selected_samples(mode, scene, percent):
    trunk = scene.candidates(1)[0]
    protocol = {"sample_rate": percent / 100, "sampling": mode}
    evaluator = open_evaluator(scene, **protocol)
    plain = {
        a: score_plainly(scene.supernet, a, scene.calibration, scene.validation)
        for a in {trunk, *scene.candidates(4, trunk[:1])}
    }
    whole = {score.architecture: score for score in open_evaluator(scene).score(list(plain))}
    selected = select_samples(
        [as_outcomes([plain[trunk]])], mode, percent / 100, np.random.default_rng([SEED, 0])
    )
    kept, weights = selected.rows, selected.weights
    for depth in sorted({1, len(trunk)}):
        evaluator.freeze(trunk[:depth], trunk)
        assert evaluator.counters.samples == len(kept)
        behind = [a for a in plain if a[:depth] == trunk[:depth]]
        for score in evaluator.score(behind):
            expected = plain[score.architecture]
            assert score.correct == expected.correct[kept].sum()
            assert score.samples == len(kept)
            for found, values in (
                (score.top1, expected.correct),
                (score.objectives["top5"], expected.correct_top5),
                (score.loss, expected.losses),
            ):
                assert found == pytest.approx(np.average(values[kept], weights=weights), abs=1e-5)
    assert evaluator.score_in_full(list(plain)) == [whole[a] for a in plain]


class KeepsShards(LocalPool):
    """Remembers what it was told to keep."""

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        results = super().run(calls, keep=keep)
        self.kept = [shard for shard, _ in results] if keep else []
        return results


def test_selected_shards_say_which_samples_they_hold_and_their_weights():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    pool = KeepsShards(scene.supernet, Evaluation(device="cpu"))
    evaluator = open_evaluator(scene, pool, sample_rate=0.4, sampling="weighted")
    losses = score_plainly(scene.supernet, trunk, scene.calibration, scene.validation).losses
    selected = select_weighted(losses, 0.4, np.random.default_rng([SEED, 0]))
    kept, weights = selected.rows, selected.weights
    labels = np.concatenate([shard.labels for shard in scene.validation])
    for depth in (1, 3):
        evaluator.freeze(trunk[:depth], trunk)
        assert np.concatenate([shard.samples for shard in pool.kept]).tolist() == kept.tolist()
        assert np.concatenate([s.labels for s in pool.kept]).tolist() == labels[kept].tolist()
        assert np.concatenate([s.weights for s in pool.kept]) == pytest.approx(weights, rel=1e-4)
        assert {(s.prefix, s.split) for s in pool.kept} == {(trunk[:depth], "validation")}


@pytest.mark.parametrize(("fewer", "close"), [(16, 1e-3), (8, 0.02), (4, 0.3)])
def test_fewer_bits_stay_close_to_32_after_advancing_twice(fewer, close):
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    population = scene.candidates(5, trunk[:2])
    losses = {}
    for bits in (32, fewer):
        evaluator = open_evaluator(scene, bits=bits)
        evaluator.freeze(trunk[:1], trunk)
        evaluator.freeze(trunk[:2], trunk)
        losses[bits] = np.array([score.loss for score in evaluator.score(population)])
        full = evaluator.score_in_full(population)
        assert [s.loss for s in full] == open_losses(scene, population)
    assert losses[fewer] == pytest.approx(losses[32], rel=close)
    assert (losses[fewer] != losses[32]).all()


def open_losses(scene: Scene, population: Sequence[Architecture]) -> list[float]:
    return [score.loss for score in open_evaluator(scene).score(population)]


@settings(max_examples=10)
@given(scenes)
def test_merged_statistics_are_those_of_the_candidate_alone(scene: Scene):
    architecture = scene.candidates(1)[0]
    found = open_evaluator(scene).statistics(architecture)
    subnet = calibrated_copy(scene.supernet, architecture, scene.calibration)
    paths = [(), *(architecture[: k + 1] for k in range(len(architecture))), (*architecture, 0)]
    assert found.keys() == set(paths)
    for path, module in zip(paths, subnet, strict=True):
        expected = batch_stats.read(batch_norms(module), torch.device("cpu")).numpy()
        np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=1e-4)


class ReadOnce(Sequence):
    """Held-out shards that may be read once each, in order."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards, self.reads = shards, []

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> Shard:
        self.reads.append(index)
        return self.shards[index]


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
def test_held_out_shards_are_scored_once_from_the_images_on(batch_norm):
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    held_out = ReadOnce(random_shards(scene.supernet, "test", 60, 5, seed=9))
    options = {"batch_norm": batch_norm, "bits": 16, "sample_rate": 0.3}
    evaluator = open_evaluator(scene, held_out=held_out, **options)
    evaluator.freeze(trunk[:2], trunk)
    score = evaluator.test(trunk)
    assert score is not None
    assert held_out.reads == list(range(12))
    calibration = scene.calibration if batch_norm == "recalibrate" else []
    plain = score_plainly(scene.supernet, trunk, calibration, held_out.shards)
    assert (score.architecture, score.correct, score.samples) == (trunk, plain.correct.sum(), 60)
    assert score.loss == pytest.approx(plain.losses.mean(), abs=1e-5)


def test_a_finalist_is_not_calibrated_again():
    scene = small_spos()
    winner, *others = dict.fromkeys(scene.candidates(4))
    held_out = random_shards(scene.supernet, "test", 60, 5, seed=9)
    blocks, calibrated = scene.supernet.space.blocks, sum(s.rows for s in scene.calibration)
    found = []
    for finalists, calibrations in (([], 1), ([others[0]], 1), ([winner, *others], 0)):
        evaluator = open_evaluator(scene, held_out=held_out, calibration_images=5)
        evaluator.score_in_full(finalists)
        evaluator.score_again([others[-1]])
        before = evaluator.counters.block_forwards
        found.append((evaluator.test(winner), evaluator.statistics(winner)))
        executed = evaluator.counters.block_forwards - before
        assert executed == (60 + calibrations * calibrated) * blocks
    for score, statistics in found:
        assert score == found[0][0]
        assert statistics.keys() == found[0][1].keys()
        assert all((statistics[node] == found[0][1][node]).all() for node in statistics)


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
def test_each_shard_that_is_needed_is_read_and_observed_once(batch_norm):
    scene = small_spos()
    calibration, validation = ReadOnce(scene.calibration), ReadOnce(scene.validation)
    seen: list[Shard] = []
    protocol = Evaluation(batch_norm=batch_norm, device="cpu")
    pool = LocalPool(scene.supernet, protocol)
    PopulationEvaluator(pool, Splits(calibration, validation, inspect=seen.append), protocol, 0)
    needed = range(len(calibration)) if batch_norm == "recalibrate" else []
    assert calibration.reads == list(needed)
    assert validation.reads == list(range(len(validation)))
    assert seen == [calibration.shards[i] for i in needed] + validation.shards


@pytest.mark.parametrize(("images", "size"), [(0, 4), (5, 4), (1, 1)])
def test_recalibration_needs_shards_of_two_images(images, size):
    scene = small_spos()
    shards = random_shards(scene.supernet, "calibration", images, size, 0) if images else []
    if images == 5:
        shards = [*shards, random_shards(scene.supernet, "calibration", 1, 1, 0)[0]]
    broken = Scene(scene.supernet, shards, scene.validation, 0)
    with pytest.raises(InputError) as caught:
        open_evaluator(broken)
    assert caught.value.argument == "calibration"
    assert open_evaluator(broken, batch_norm="inherit").score(scene.candidates(1))[0].finite


def weighed(shards: Sequence[Shard], seed: int) -> list[Shard]:
    """The same samples with importance weights from 0 to 5."""
    rng = np.random.default_rng(seed)
    return [
        Shard.build(s.stored, s.targets, s.samples, rng.uniform(0, 5, s.rows), split=s.split)
        for s in shards
    ]


def test_weights_of_samples_count_before_and_behind_a_freeze():
    scene = small_spos()
    heavy = weighed(scene.validation, seed=4)
    evaluator = open_evaluator(Scene(scene.supernet, scene.calibration, heavy, 0))
    architecture = scene.candidates(1)[0]
    plain = score_plainly(scene.supernet, architecture, scene.calibration, heavy)
    weights = np.concatenate([shard.weights for shard in heavy])
    expected = np.average(plain.losses, weights=weights)
    before = evaluator.score([architecture])[0]
    assert before.loss == pytest.approx(expected, rel=1e-5)
    evaluator.freeze(architecture[:2], architecture)
    assert evaluator.score_again([architecture]) == [before]


@pytest.mark.parametrize("mode", ["top", "weighted", "random", "disagreement"])
def test_weights_of_samples_beside_a_selection_are_refused(mode):
    scene = small_spos()
    heavy = Scene(scene.supernet, scene.calibration, weighed(scene.validation, seed=4), 0)
    evaluator = open_evaluator(heavy, sample_rate=0.5, sampling=mode)
    architecture = scene.candidates(1)[0]
    with pytest.raises(InputError, match="validation weights: expected 1 for every sample"):
        evaluator.freeze(architecture[:2], architecture, [architecture])
    assert evaluator.prefix == ()


def test_prefixes_and_candidates_that_do_not_fit_are_refused():
    scene = small_spos()
    evaluator = open_evaluator(scene)
    for prefix, reference in (((), (0, 0, 0, 0)), ((9,), (9, 0, 0, 0)), ((1,), (0, 0, 0, 0))):
        with pytest.raises(InputError):
            evaluator.freeze(prefix, reference)
    assert evaluator.prefix == ()
    evaluator.freeze((1, 2), (1, 2, 0, 0))
    for prefix in ((1, 2), (1,), (2, 2, 0)):
        with pytest.raises(InputError, match="prefix"):
            evaluator.freeze(prefix, (*prefix, 0, 0, 0)[:4])
    with pytest.raises(InputError, match=r"\[1, 2\]"):
        evaluator.score([(1, 2, 0, 0), (1, 3, 0, 0)])
    assert evaluator.prefix == (1, 2)
    assert evaluator.score([]) == evaluator.score_in_full([]) == []
    assert evaluator.score([(1, 2, 3, 0)]) == open_evaluator(scene).score([(1, 2, 3, 0)])
