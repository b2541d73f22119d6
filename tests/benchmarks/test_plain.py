"""The benchmarks' reference scores as the full protocol does, without any of its code."""

from __future__ import annotations

import pytest
from plain import PlainEvaluator

import raynas
from raynas.population.evaluator import PopulationEvaluator, Splits
from raynas.testing import check_evaluator, small_data, small_supernet
from raynas.workers.pool import LocalPool


def test_plain_scores_are_those_of_the_full_protocol() -> None:
    supernet, data = small_supernet(), small_data()
    settings = raynas.Evaluation(device="cpu", prefix_sharing=False)
    pool = LocalPool(supernet, settings)
    splits = Splits(data.calibration, data.validation)
    ours = PopulationEvaluator(pool, splits, settings, seed=0)
    plain = PlainEvaluator(supernet, data, threads=1)
    candidates = list(supernet.space.enumerate())[::331]
    expected = ours.score(candidates)
    for _ in range(2):
        for score, other in zip(plain.score(candidates), expected, strict=True):
            assert score.architecture == other.architecture
            assert (score.correct, score.samples) == (other.correct, other.samples)
            assert (score.top1, score.finite) == (other.top1, True)
            assert score.objectives == pytest.approx(other.objectives)
            assert score.loss == pytest.approx(other.loss, rel=1e-4)
    assert plain.counters.block_forwards == 2 * ours.counters.block_forwards
    assert len({score.correct for score in expected}) > 1


def test_the_reference_keeps_the_contract_of_evaluators() -> None:
    supernet = small_supernet(blocks=3)
    check_evaluator(PlainEvaluator(supernet, small_data(), threads=1), supernet.space)
