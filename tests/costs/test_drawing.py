"""Uniform drawing under limits, against counting by hand."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from oracle import cases, listed, upper
from scipy.stats import chisquare

from raynas.costs import CostTable, Limit, Limits
from raynas.costs.drawing import RESOLUTION, combined, completions, rounded
from raynas.space import Architecture, SearchSpace


@given(cases(most=1))
def test_counts_every_architecture_within_the_rounded_window(
    case: tuple[Limits, Architecture],
) -> None:
    """All legal ones are among them; where a step is one unit of cost, there are no others."""
    limits, prefix = case
    for window in limits.windows(prefix):
        if window.closed:
            continue
        steps = rounded(window)
        within = {
            a
            for a in limits.space.enumerate(prefix)
            if steps.least
            <= sum(row[c] for row, c in zip(steps.costs, a[len(prefix) :], strict=True))
            <= steps.limit
        }
        assert completions(steps)[0][steps.limit] == len(within)
        assert set(listed(limits, prefix)) <= within
        if steps.limit < RESOLUTION:
            assert set(listed(limits, prefix)) == within


@given(cases())
def test_a_sum_of_windows_holds_what_all_of_them_hold(case: tuple[Limits, Architecture]) -> None:
    limits, prefix = case
    windows = [window for window in limits.windows(prefix) if window.bounds > 0]
    if windows and not any(window.closed for window in windows):
        together = combined(windows)
        assert min(map(min, together.costs)) == 0
        assert all(together.holds(a[len(prefix) :]) for a in listed(limits, prefix))


@pytest.mark.parametrize("unit", [1, 10**9, 0.001])
@pytest.mark.parametrize(
    ("at_most", "at_least"),
    [(None, None), (20, None), (9, None), (5, None), (None, 14), (None, 21), (12, 9), (17, 16)],
)
def test_legal_architectures_are_equally_likely(
    unit: float, at_most: int | None, at_least: int | None
) -> None:
    """A first block that could spend the whole room is no more likely to do so."""
    blocks = ((0, 9, 4), (3, 0, 1), (1, 2, 7), (0, 5, 1))
    scaled = tuple(tuple(float(c * Fraction(str(unit))) for c in row) for row in blocks)
    table = CostTable("flops", unit, scaled)
    sides = [None if b is None else float(b * Fraction(str(unit))) for b in (at_most, at_least)]
    limits = Limits(SearchSpace((3, 3, 3, 3)), (Limit(table, *sides),))
    drawn = Counter(islice(limits.draw((), np.random.default_rng(0)), 4000))
    legal = listed(limits)
    assert set(drawn) == set(legal)
    assert chisquare([drawn[a] for a in legal]).pvalue > 0.001


def test_legal_architectures_are_equally_likely_under_several_limits() -> None:
    rng = np.random.default_rng(0)
    space = SearchSpace((3,) * 5)
    first, second = (
        CostTable(name, 0, tuple(tuple(int(c) for c in rng.integers(0, 99, 3)) for _ in range(5)))
        for name in "ab"
    )
    limits = Limits(space, (Limit(first, 230), Limit(second, 300, 240)))
    legal = listed(limits)
    assert 5 < len(legal) < 100
    drawn = Counter(islice(limits.draw((), rng), 4000))
    assert set(drawn) == set(legal)
    assert chisquare([drawn[a] for a in legal]).pvalue > 0.001


def tight_table() -> CostTable:
    rng = np.random.default_rng(0)
    blocks = tuple(tuple(int(c) for c in rng.integers(10**6, 10**7, 4)) for _ in range(20))
    return CostTable("flops", 0, blocks)


def test_few_draws_are_wasted_under_a_tight_limit() -> None:
    """Drawing from the whole space would find about one legal architecture in a thousand."""
    table, rng = tight_table(), np.random.default_rng(0)
    limits = upper(table, table.units_of(table.cheapest()) * 7 // 5)
    assert sum(limits.allows(limits.space.sample(rng)) for _ in range(2000)) < 20
    assert sum(map(limits.allows, islice(limits.near((), rng), 200))) > 190


def test_few_draws_are_wasted_near_the_dearest() -> None:
    table, rng = tight_table(), np.random.default_rng(0)
    least = table.units_of(table.dearest()) * 19 // 20
    limits = Limits(SearchSpace((4,) * 20), (Limit(table, at_least=least),))
    assert sum(limits.allows(limits.space.sample(rng)) for _ in range(2000)) < 20
    assert sum(map(limits.allows, islice(limits.near((), rng), 200))) > 150


def test_prefix_is_kept_and_an_infeasible_one_gives_nothing() -> None:
    limits = upper(CostTable("flops", 0, ((0, 9), (0, 2), (0, 2))), 10)
    rng = np.random.default_rng(0)
    assert set(islice(limits.draw((1,), rng), 100)) == {(1, 0, 0)}
    assert list(limits.draw((1, 1), rng)) == []
    assert set(islice(limits.draw((0, 1, 1), rng), 3)) == {(0, 1, 1)}


def test_without_a_limit_every_architecture() -> None:
    limits = Limits(SearchSpace((3, 1, 2)))
    drawn = set(islice(limits.draw((), np.random.default_rng(0)), 200))
    assert drawn == set(listed(limits))


def test_spaces_beyond_the_range_of_floats() -> None:
    """4 to the power of 600 is more than a float holds; the first block is drawn evenly still."""
    limits = upper(CostTable("flops", 0, ((0, 1, 1, 0),) * 600), 600)
    draws = islice(limits.draw((), np.random.default_rng(0)), 100)
    firsts = Counter(architecture[0] for architecture in draws)
    assert len(firsts) == 4
    assert max(firsts.values()) < 50
