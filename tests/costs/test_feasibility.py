"""The integer program and the descent, alone, against listing everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import cases, listed, tables

from raynas.costs import CostTable, Limit, Limits
from raynas.costs.feasibility import MARGIN, descend, narrowed, nearest, solve
from raynas.errors import InputError
from raynas.space import Architecture, SearchSpace


@st.composite
def contradicting(draw: st.DrawFn) -> Limits:
    """An upper limit on one cost and a lower one, or both, on another; few or none are legal."""
    space = SearchSpace(tuple(draw(st.lists(st.integers(2, 4), min_size=2, max_size=5))))
    first, second = draw(tables(space, "a")), draw(tables(space, "b"))
    low = sorted(first.of(a) for a in space.enumerate())
    high = sorted((second.of(a) for a in space.enumerate()), reverse=True)
    few = st.integers(0, len(low) // 2)
    least, most = sorted([high[draw(few)], high[draw(few)]])
    both = draw(st.booleans())
    stated = (Limit(first, low[draw(few)]), Limit(second, most if both else None, least))
    return Limits(space, stated)


@given(contradicting())
@settings(max_examples=60)
def test_the_program_agrees_with_listing(limits: Limits) -> None:
    """It finds what is legal or excludes it; only beyond its tolerance it may leave that open."""
    windows = [window for window in limits.windows() if window.bounds > 0]
    if not windows:
        return
    suffix, violation = solve(windows, limits.space.choices, [narrowed(w) for w in windows])
    legal = listed(limits)
    assert limits.feasible() == bool(legal)
    assert suffix is not None
    assert limits.space.validate(suffix)
    if violation > 2 * MARGIN:
        assert legal == []
    elif max(window.room for window in windows) < 1 / (2 * MARGIN):
        assert suffix in legal


@given(cases())
def test_the_descent_finds_only_what_is_there(case: tuple[Limits, Architecture]) -> None:
    limits, prefix = case
    if descend(limits.windows(prefix), limits.space.choices[len(prefix) :]):
        assert listed(limits, prefix)


@given(contradicting())
@settings(max_examples=40)
def test_the_nearest_violates_least(limits: Limits) -> None:
    windows = [window for window in limits.windows() if window.room > 0]
    if not windows:
        return
    found = nearest(limits.windows(), limits.space.choices)

    def worst(architecture: Architecture) -> float:
        sums = [sum(r[c] for r, c in zip(w.costs, architecture, strict=True)) for w in windows]
        return max(
            max(w.low - s, s - w.high, 0) / w.room for w, s in zip(windows, sums, strict=True)
        )

    least = min(map(worst, limits.space.enumerate()))
    assert worst(found) == pytest.approx(least, abs=3 * MARGIN)


def equal_sums(blocks: int) -> tuple[Limits, Architecture]:
    """Two costs to be met to the unit, in numbers beyond any tolerance, and what meets them."""
    rng = np.random.default_rng(0)
    space = SearchSpace((4,) * blocks)
    limits = []
    some = space.sample(rng)
    for name in ("a", "b"):
        costs = tuple(tuple(int(c) for c in rng.integers(0, 10**12, 4)) for _ in range(blocks))
        table = CostTable(name, 0, costs)
        limits.append(Limit(table, table.of(some), table.of(some)))
    return Limits(space, tuple(limits)), some


def test_needles_are_found_exactly() -> None:
    """The only legal architecture of 4 to the power of 12."""
    limits, needle = equal_sums(12)
    assert limits.count() == 1
    assert limits.feasible()
    assert list(limits.enumerate()) == [needle]


def test_what_cannot_be_told_is_an_error_before_the_search() -> None:
    """Behind a long prefix it can be told again, so what is legal there is still found."""
    limits, needle = equal_sums(40)
    assert limits.feasible() is None
    with pytest.raises(InputError, match=r"bounds of which it can be told.*a at least .*Widen"):
        limits.require_feasible()
    assert list(limits.enumerate(needle[:32])) == [needle]
    assert next(limits.draw(needle[:32], np.random.default_rng(0))) == needle
