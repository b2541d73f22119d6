"""The optimum by integer programming, against listing everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import cases, listed, naive_cost, tables

from raynas.costs import CostTable, Limit, Limits
from raynas.costs.optimum import least
from raynas.errors import InputError
from raynas.space import Architecture, SearchSpace


@given(cases(), st.data())
@settings(max_examples=80)
def test_nothing_legal_costs_less(case: tuple[Limits, Architecture], data: st.DataObject) -> None:
    limits, _ = case
    table = data.draw(tables(limits.space, "lost"))
    legal = listed(limits)
    if not legal:
        with pytest.raises(InputError, match="constraint"):
            least(table, limits)
        return
    found = least(table, limits)
    if found is None:
        # Bounds as narrow as one unit of a huge room are beyond the solver.
        assert any(window.room > 10**9 for window in limits.windows())
        return
    assert found.architecture in legal
    assert found.cost == table.of(found.architecture)
    assert found.proven
    costs = [naive_cost(table, each) for each in legal]
    room = max(naive_cost(table, table.dearest()) - naive_cost(table, table.cheapest()), 1e-300)
    assert float((naive_cost(table, found.architecture) - min(costs)) / room) == pytest.approx(
        0, abs=1e-9
    )


def test_large_spaces_against_a_sum_over_costs() -> None:
    """19 blocks of 12 choices, by dynamic programming over every possible cost."""
    rng = np.random.default_rng(0)
    costs, lost = rng.integers(1, 40, (19, 12)), rng.integers(0, 1000, (19, 12))
    bound = int(costs.min(1).sum()) + 60
    best = np.full(bound + 1, 10**9)
    best[0] = 0
    for price, loss in zip(costs, lost, strict=True):
        reached = np.full(bound + 1, 10**9)
        for one, other in zip(price.tolist(), loss.tolist(), strict=True):
            reached[one:] = np.minimum(reached[one:], best[: bound + 1 - one] + other)
        best = reached
    flops = CostTable("flops", 0, costs.tolist())
    limits = Limits(SearchSpace((12,) * 19), (Limit(flops, bound),))
    found = least(CostTable("lost", 0, (lost / 50_000).tolist()), limits)
    assert found is not None
    assert found.proven
    assert found.cost == pytest.approx(best.min() / 50_000)
    assert flops.of(found.architecture) <= bound


def test_equal_choices_and_no_limits() -> None:
    space = SearchSpace((3, 2))
    found = least(CostTable("lost", 0.5, ((0.1, 0.1, 0.1), (0.2, 0.2))), Limits(space))
    assert found is not None
    assert found.cost == 0.8
    with pytest.raises(InputError, match="choices per block"):
        least(CostTable("lost", 0, ((0.1, 0.2), (0.1, 0.2))), Limits(space))
