"""The benchmarks' reference scores as the full protocol does, without any of its code."""

from __future__ import annotations

import pytest
from plain import PlainEvaluator
from small_search import small_data, small_supernet

import raynas
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.pool import LocalPool


def test_plain_scores_are_those_of_the_full_protocol() -> None:
    supernet, data = small_supernet(), small_data()
    settings = raynas.Evaluation(device="cpu", prefix_sharing=False)
    pool = LocalPool(supernet, settings)
    ours = PopulationEvaluator(pool, data.calibration, data.validation, settings, seed=0)
    plain = PlainEvaluator(supernet, data, threads=1)
    candidates = list(supernet.space.enumerate())[::97]
    expected = ours.score(candidates)
    for _ in range(2):
        for score, other in zip(plain.score(candidates), expected, strict=True):
            assert score.architecture == other.architecture
            assert (score.correct, score.samples) == (other.correct, other.samples)
            assert (score.top1, score.finite) == (other.top1, True)
            assert score.top5 == pytest.approx(other.top5)
            assert score.loss == pytest.approx(other.loss, rel=1e-4)
    assert plain.block_forwards == 2 * ours.block_forwards
    assert len({score.correct for score in expected}) > 1
