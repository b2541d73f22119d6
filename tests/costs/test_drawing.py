"""Uniform drawing under a limit, against counting by hand."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searching import legal, problems, unconstrained

from raynas.costs import Budget, CostTable
from raynas.costs.drawing import RESOLUTION, completions, draw, rounded_costs
from raynas.evolution.strategy import Problem
from raynas.space import SearchSpace


@given(problem=problems(), data=st.data())
@settings(deadline=None)
def test_counts_every_architecture_within_the_rounded_limit(
    problem: Problem, data: st.DataObject
) -> None:
    """All legal ones are among them; where a step is one unit of cost, there are no others."""
    some = data.draw(st.sampled_from(sorted(legal(problem))))
    prefix = some[: data.draw(st.integers(0, problem.space.blocks))]
    steps, limit = rounded_costs(problem.budget, prefix)
    within = {
        a
        for a in problem.space.enumerate(prefix)
        if sum(row[c] for row, c in zip(steps, a[len(prefix) :], strict=True)) <= limit
    }
    assert completions(steps, limit)[0][limit] == len(within)
    assert legal(problem, prefix) <= within
    if limit < RESOLUTION:
        assert legal(problem, prefix) == within


@pytest.mark.parametrize("unit", [1, 10**9])
@pytest.mark.parametrize("at_most", [None, 20, 9, 5])
def test_legal_architectures_are_equally_likely(unit: int, at_most: int | None) -> None:
    """A first block that could spend the whole budget is no more likely to do so."""
    blocks = ((0, 9, 4), (3, 0, 1), (1, 2, 7), (0, 5, 1))
    table = CostTable("flops", 1, tuple(tuple(c * unit for c in costs) for costs in blocks))
    budget = Budget(table, None if at_most is None else at_most * unit)
    problem = Problem(SearchSpace((3, 3, 3, 3)), budget)
    rng = np.random.default_rng(0)
    drawn = Counter(filter(budget.allows, islice(draw(budget, (), rng), 8000)))
    assert set(drawn) == legal(problem)
    expected = drawn.total() / len(drawn)
    assert all(abs(n - expected) < 5 * expected**0.5 for n in drawn.values())


def test_few_draws_are_wasted_under_a_tight_limit() -> None:
    """Drawing from the whole space would find about one legal architecture in a thousand."""
    rng = np.random.default_rng(0)
    blocks = tuple(tuple(int(c) for c in rng.integers(10**6, 10**7, 4)) for _ in range(20))
    table = CostTable("flops", 0, blocks)
    limit = table.of(table.cheapest()) * 7 // 5
    budget = Budget(table, limit)
    space = SearchSpace((4,) * 20)
    assert sum(budget.allows(space.sample(rng)) for _ in range(2000)) < 20
    assert sum(map(budget.allows, islice(draw(budget, (), rng), 200))) > 190


def test_prefix_is_kept_and_an_infeasible_one_gives_nothing() -> None:
    table = CostTable("flops", 0, ((0, 9), (0, 2), (0, 2)))
    budget, rng = Budget(table, 10), np.random.default_rng(0)
    assert set(islice(draw(budget, (1,), rng), 100)) == {(1, 0, 0)}
    assert list(draw(budget, (1, 1), rng)) == []
    assert set(islice(draw(budget, (0, 1, 1), rng), 3)) == {(0, 1, 1)}


def test_without_a_limit_every_architecture() -> None:
    problem = unconstrained(3, 1, 2)
    drawn = set(islice(draw(problem.budget, (), np.random.default_rng(0)), 200))
    assert drawn == legal(problem)
