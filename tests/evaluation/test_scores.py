"""Scores of candidates, from the outcomes of shards and of parts of the population."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import classified

from raynas.evaluation.scores import Outcomes, join_candidates, join_samples, merge_scores
from raynas.score import Score

CANDIDATES = [(0, 1), (1, 1), (0, 0)]


def outcome(rng: np.random.Generator, candidates: int, samples: int) -> Outcomes:
    correct = rng.random((candidates, samples)) < 0.5
    top5 = correct | (rng.random((candidates, samples)) < 0.5)
    losses = rng.exponential(1.0, (candidates, samples)).astype(np.float32)
    return classified(correct, top5, losses, block_forwards=samples)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_scores_are_the_weighted_means_over_all_samples(sizes, seed):
    rng = np.random.default_rng(seed)
    outcomes = [outcome(rng, len(CANDIDATES), size) for size in sizes]
    weights = rng.uniform(0.5, 4.0, sum(sizes))
    for index, score in enumerate(merge_scores(CANDIDATES, join_samples(outcomes), weights)):
        bits = [bool(bit) for o in outcomes for bit in o.first[index]]
        losses = [float(loss) for o in outcomes for loss in o.losses[index]]
        fifth = [bool(bit) for o in outcomes for bit in o.values["top5"][index]]

        def mean(values: list) -> float:
            return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum()

        assert score.architecture == CANDIDATES[index]
        assert (score.correct, score.samples) == (sum(bits), len(bits))
        assert score.top1 == pytest.approx(mean(bits))
        assert score.objectives["top5"] == pytest.approx(mean(fifth))
        assert score.loss == pytest.approx(mean(losses))
        assert score.finite


def test_without_weights_accuracies_are_exact_ratios():
    rng = np.random.default_rng(0)
    outcomes = [outcome(rng, 3, 7), outcome(rng, 3, 6)]
    for score in merge_scores(CANDIDATES, join_samples(outcomes), np.ones(13)):
        assert score.top1 == score.correct / 13


def test_one_shard_that_is_not_finite_marks_the_candidate_only():
    rng = np.random.default_rng(0)
    first, second = outcome(rng, 3, 4), outcome(rng, 3, 4)
    clean = merge_scores(CANDIDATES, join_samples([first, second]), np.ones(8))
    losses = second.losses.copy()
    losses[1, 2] = math.nan
    broken = replace(second, losses=losses, finite=np.array([True, False, True]))
    scores = merge_scores(CANDIDATES, join_samples([first, broken]), np.ones(8))
    assert [score.finite for score in scores] == [True, False, True]
    assert scores[1].loss == math.inf
    assert isinstance(scores[1], Score)
    assert [scores[0], scores[2]] == [clean[0], clean[2]]


@settings(max_examples=30)
@given(st.permutations(range(7)), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_parts_join_in_the_order_of_the_candidates(order, count, seed):
    whole = outcome(np.random.default_rng(seed), 7, 3)
    parts = np.array_split(np.array(order), count)
    results = [
        classified(
            whole.values["top1"][part],
            whole.values["top5"][part],
            whole.losses[part],
            whole.finite[part],
            block_forwards=len(part),
        )
        for part in parts
    ]
    joined = join_candidates(parts, results)
    assert list(joined.values) == ["top1", "top5"]
    assert all(np.array_equal(joined.values[name], whole.values[name]) for name in whole.values)
    assert np.array_equal(joined.losses, whole.losses)
    assert joined.block_forwards == 7
