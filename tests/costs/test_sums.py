"""Exact counting by meeting in the middle, against listing everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import cases, listed

from raynas.costs import Limits, sums
from raynas.costs.feasibility import satisfiable
from raynas.space import Architecture

costs_of_blocks = st.lists(
    st.lists(st.integers(0, 12) | st.integers(2**61, 2**64), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=5,
).map(tuple)


@given(costs_of_blocks)
def test_distinct_sums_equal_listing(blocks: tuple[tuple[int, ...], ...]) -> None:
    every = [sum(pick) for pick in product(*blocks)]
    found, counts = np.zeros(1, dtype=object), np.ones(1, dtype=object)
    for costs in blocks:
        found, counts = sums.extended((found, counts), costs)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == {
        total: every.count(total) for total in every
    }
    assert (np.diff(found) > 0).all()


@given(cases())
def test_what_is_given_up_is_unknown(case: tuple[Limits, Architecture]) -> None:
    """Under the smallest caps every count is right or unknown, and feasibility still decided."""
    limits, prefix = case
    expected = len(listed(limits, prefix))
    windows, choices = limits.windows(prefix), limits.space.choices[len(prefix) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "LARGEST_HALF", {True: 4, False: 4})
        patch.setattr(sums, "LARGEST_MEETING", {True: 6, False: 6})
        patch.setattr(sums, "CHUNK", 2)
        assert sums.count_within(windows, choices) in (expected, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "CHUNK", 3)
        assert sums.count_within(windows, choices) == expected
    assert satisfiable(windows, choices) == (expected > 0)
