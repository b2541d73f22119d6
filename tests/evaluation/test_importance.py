"""The record of selected samples: few numbers, in the order of their losses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from raynas.evaluation.importance import PLACES, SUBNETS, importance_record
from raynas.evaluation.scores import Outcomes
from raynas.evaluation.selection import Selection


def outcomes(losses: object) -> Outcomes:
    values = np.array(losses, dtype=np.float32)
    return Outcomes({"top1": values < 1.0}, values, np.ones(len(values), dtype=bool))


def test_few_samples_are_all_shown_the_largest_mean_loss_first() -> None:
    groups = [outcomes([[1.0, 4.0, 0.5]]), outcomes([[3.0, 2.0, 0.0], [2.0, 3.0, 1.0]])]
    record = importance_record(groups, Selection(np.array([0, 1]), np.ones(2)))
    assert record == {
        "samples": 3,
        "kept": 2,
        "subnets": 3,
        "ranks": [0, 1, 2],
        "losses": [[4.0, 1.0, 0.5], [2.0, 3.0, 0.0], [3.0, 2.0, 1.0]],
        "kept_shares": [1.0, 1.0, 0.0],
    }


@pytest.mark.parametrize(("subnets", "samples"), [(1, 1), (2, 59), (40, 61), (3, 5000)])
def test_many_are_shown_at_equal_distances(subnets: int, samples: int) -> None:
    rng = np.random.default_rng(samples)
    losses = rng.random((subnets, samples)).astype(np.float32)
    kept = np.flatnonzero(rng.random(samples) < 0.4)
    record = importance_record([outcomes(losses)], Selection(kept, np.ones(len(kept))))
    places = min(PLACES, samples)
    assert len(record["ranks"]) == len(record["kept_shares"]) == places
    assert len(record["losses"]) == min(SUBNETS, subnets)
    widths = np.diff([*record["ranks"], samples])
    assert widths.max() - widths.min() <= 1
    assert np.dot(widths, record["kept_shares"]) == pytest.approx(len(kept), rel=1e-3, abs=1e-6)
    order = np.argsort(-losses.astype(np.float64).mean(axis=0), kind="stable")
    shown = losses[:SUBNETS][:, order[record["ranks"]]]
    np.testing.assert_allclose(record["losses"], shown, rtol=1e-3)
    assert len(json.dumps(record)) < 20_000


def test_losses_that_are_not_finite_are_as_large_as_the_largest() -> None:
    record = importance_record(
        [outcomes([[np.inf, 2.0, np.nan]])], Selection(np.array([1]), np.ones(1))
    )
    assert record["losses"] == [[2.0, 2.0, 2.0]]
    json.dumps(record, allow_nan=False)
