"""Rank correlations with their intervals, and the window of FLOPs of winners and baselines."""

from __future__ import annotations

from itertools import combinations

import correlation
import numpy as np
import pytest
from prediction import near, window
from tables import spread

from raynas.costs import flops_table
from raynas.supernets import fairnas_28x28, spos_8x8


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "RESAMPLES", 200)


def kendall(a: list[float], b: list[float]) -> float:
    """Pairs in the same order less those in the other one, over all pairs; without ties."""
    signs = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in combinations(range(len(a)), 2)]
    return float(np.mean(signs))


def test_correlations_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(24).tolist()
    predicted = (np.array(truth) + 0.3 * rng.random(24)).tolist()
    row = correlation.correlations(predicted, truth)
    assert row["kendall"] == pytest.approx(kendall(predicted, truth))
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, truth)]
    assert row["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    for name in ("kendall", "spearman"):
        low, high = row[f"{name}_interval"]
        assert low < row[name] < high < 1
    assert row == correlation.correlations(predicted, truth)


def test_equal_and_opposite_orders_are_certain() -> None:
    truth = [float(value) for value in range(12)]
    for sign in (1, -1):
        row = correlation.correlations([sign * value for value in truth], truth)
        assert row["kendall"] == pytest.approx(sign)
        assert row["kendall_interval"] == pytest.approx([sign, sign])
    flat = correlation.correlations([0.5] * 12, truth)
    assert (flat["kendall"], flat["spearman_interval"]) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("build", [spos_8x8, fairnas_28x28])
def test_baselines_have_the_flops_that_winners_may_have(build: object) -> None:
    supernet = build()  # type: ignore[operator]
    table = flops_table(supernet)
    low, high = window(supernet)
    assert table.of(table.cheapest()) < low < high < table.of(table.dearest())
    found = near(supernet, 5)
    assert len(set(found)) == 5
    assert all(low <= table.of(each) <= high for each in found)


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([0.5]) == "50.00%"
    assert spread([0.1, 0.3, 0.2]) == "20.00% (10.00% to 30.00%)"
