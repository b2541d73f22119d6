"""Disagreement sampling in a search: who votes, when they are scored, and what scores estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import as_outcomes, score_plainly
from random_chains import Scene, scenes
from small_population import open_evaluator, small_spos

from raynas.evaluation import Evaluation
from raynas.evaluation.selection import select_disagreement
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.workers.calls import Advance, Call, ScoreShard
from raynas.workers.pool import LocalPool

HALF = {"sampling": "disagreement", "sample_rate": 0.5}


class Counting(LocalPool):
    """Notes which candidates it scores between a moment and the next freeze."""

    def start(self) -> None:
        self.scored: set[Architecture] = set()
        self.counts = True

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        self.counts = self.counts and not any(isinstance(call, Advance) for call in calls)
        for call in calls:
            if self.counts and isinstance(call, ScoreShard):
                self.scored.update(call.architectures)
        return super().run(calls, keep=keep)


def counting(scene: Scene) -> Counting:
    pool = Counting(scene.supernet, Evaluation(device="cpu", **HALF))
    pool.start()
    return pool


@settings(max_examples=8)
@given(scene=scenes, percent=st.integers(10, 90))
def test_estimates_are_the_kept_samples_and_the_voters_means_of_the_others(scene, percent):
    trunk, voters = scene.candidates(1)[0], scene.candidates(6)
    voters += scene.candidates(2, trunk[:1])
    candidates = [trunk, *scene.candidates(3, trunk[:1])]
    plain = {
        a: score_plainly(scene.supernet, a, scene.calibration, scene.validation)
        for a in {*voters, *candidates}
    }
    behind = as_outcomes([plain[a] for a in voters if a[:1] == trunk[:1]])
    others = [plain[a] for a in voters if a[:1] != trunk[:1]]
    groups = [behind, as_outcomes(others)] if others else [behind]
    selected = select_disagreement(groups, percent / 100)
    evaluator = open_evaluator(scene, sample_rate=percent / 100, sampling="disagreement")
    evaluator.freeze(trunk[:1], trunk, voters)
    kept, samples = selected.rows, sum(shard.rows for shard in scene.validation)
    rest = np.setdiff1d(np.arange(samples), kept)
    for score in evaluator.score(candidates):
        expected = plain[score.architecture]
        assert (score.correct, score.samples) == (expected.correct[kept].sum(), len(kept))
        for found, name, votes in (
            (score.top1, "correct", behind.values["top1"]),
            (score.objectives["top5"], "correct_top5", behind.values["top5"]),
            (score.loss, "losses", behind.losses),
        ):
            means = votes.astype(float).mean(axis=0)
            total = getattr(expected, name)[kept].sum(dtype=float) + means[rest].sum()
            assert found == pytest.approx(total / samples, abs=1e-5, rel=1e-6)


def histories(evaluator: PopulationEvaluator, scene: Scene, voters: Any) -> list[Any]:
    trunk = scene.candidates(1)[0]
    evaluator.freeze(trunk[:1], trunk, voters)
    return [evaluator.score(scene.candidates(5, trunk[:1])), evaluator.counters.samples]


def test_voters_that_were_scored_last_are_not_scored_again_and_others_are():
    scene = small_spos()
    voters = scene.candidates(6)
    others = scene.candidates(9)[6:]
    pools, found = [], []
    for before in ([voters], [voters[::-1] + others], [], [voters, others]):
        pools.append(counting(scene))
        evaluator = open_evaluator(scene, pools[-1], **HALF)
        for population in before:
            evaluator.score(population)
        pools[-1].start()
        found.append(histories(evaluator, scene, voters))
    assert [pool.scored for pool in pools] == [set(), set(), set(voters), set(voters)]
    assert all(history == found[0] for history in found), "to the last bit"
    assert histories(open_evaluator(scene, **HALF), scene, others) != found[0], (
        "other voters disagree on other samples"
    )


def test_without_voters_the_reference_votes_alone():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    alone = histories(open_evaluator(scene, **HALF), scene, [trunk])
    assert histories(open_evaluator(scene, **HALF), scene, []) == alone


def test_a_later_freeze_keeps_the_samples_and_the_constants():
    scene = small_spos()
    trunk, voters = scene.candidates(1)[0], scene.candidates(6)
    evaluator = open_evaluator(scene, **HALF)
    evaluator.freeze(trunk[:1], trunk, voters)
    first = evaluator.score([trunk])
    evaluator.freeze(trunk[:2], trunk, scene.candidates(4, trunk[:1]))
    assert evaluator.score([trunk]) == first


def test_all_samples_give_the_full_scores():
    scene = small_spos()
    trunk, voters = scene.candidates(1)[0], scene.candidates(6)
    for rate in (1.0, 0.999):
        evaluator = open_evaluator(scene, sampling="disagreement", sample_rate=rate)
        evaluator.freeze(trunk[:1], trunk, voters)
        assert evaluator.score([trunk]) == evaluator.score_in_full([trunk])
