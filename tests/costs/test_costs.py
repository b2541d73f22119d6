"""Budgets against listing everything; the tables of real supernets are tested with those."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.costs import Budget, CostTable, FLOPs, Params, distinct_sums
from raynas.errors import InputError

costs_of_blocks = st.lists(
    st.lists(st.integers(0, 12), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5
).map(tuple)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Budget, tuple[int, ...]]:
    """A budget, and a prefix of one of its architectures."""
    blocks = draw(costs_of_blocks)
    table = CostTable("flops", draw(st.integers(0, 10)), blocks)
    budget = Budget(table, draw(st.none() | st.integers(0, 70)))
    length = draw(st.integers(0, len(blocks)))
    return budget, tuple(draw(st.integers(0, len(b) - 1)) for b in blocks[:length])


def naive_cost(table: CostTable, architecture: tuple[int, ...]) -> int:
    total = table.base
    for block in range(len(table.blocks)):
        total += table.blocks[block][architecture[block]]
    return total


def listed(budget: Budget, prefix: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every legal architecture with the prefix, by trying all."""
    return [
        architecture
        for architecture in product(*(range(len(costs)) for costs in budget.table.blocks))
        if architecture[: len(prefix)] == prefix
        and (budget.at_most is None or naive_cost(budget.table, architecture) <= budget.at_most)
    ]


@given(cases())
def test_count_equals_listing(case: tuple[Budget, tuple[int, ...]]) -> None:
    budget, prefix = case
    count = budget.count(prefix)
    assert count == len(listed(budget, prefix))
    assert type(count) is int
    assert budget.feasible(prefix) == (count > 0)


@given(cases())
def test_enumerate_equals_listing_in_order(case: tuple[Budget, tuple[int, ...]]) -> None:
    budget, prefix = case
    assert list(budget.enumerate(prefix)) == listed(budget, prefix)


@given(cases(), st.integers(0, 2**32 - 1))
def test_shuffled_enumerate_is_the_same_set(
    case: tuple[Budget, tuple[int, ...]], seed: int
) -> None:
    budget, prefix = case
    shuffled = list(budget.enumerate(prefix, np.random.default_rng(seed)))
    assert sorted(shuffled) == listed(budget, prefix)
    assert all(type(choice) is int for architecture in shuffled for choice in architecture)


def test_shuffled_enumerate_begins_anywhere() -> None:
    budget = Budget(CostTable("flops", 0, ((0, 1), (0, 1), (0, 1))), 2)
    starts = {next(budget.enumerate((), np.random.default_rng(seed))) for seed in range(60)}
    assert starts == set(listed(budget, ()))


@given(cases())
def test_cheapest_is_the_first_of_the_cheapest(case: tuple[Budget, tuple[int, ...]]) -> None:
    table, prefix = case[0].table, case[1]
    everything = listed(Budget(table), prefix)
    expected = min(everything, key=lambda a: (naive_cost(table, a), a))
    assert table.cheapest(prefix) == expected
    assert table.of(expected) == naive_cost(table, expected)


@given(costs_of_blocks)
def test_distinct_sums_equal_listing(blocks: tuple[tuple[int, ...], ...]) -> None:
    every = [sum(pick) for pick in product(*blocks)]
    sums, counts = distinct_sums(blocks)
    assert dict(zip(sums.tolist(), counts.tolist(), strict=True)) == {
        total: every.count(total) for total in every
    }
    assert (np.diff(sums) > 0).all()


def test_count_is_exact_beyond_64_bits() -> None:
    table = CostTable("flops", 0, ((0, 1, 1, 1),) * 40)
    binomial = [math.comb(40, ones) * 3**ones for ones in range(41)]
    assert Budget(table, 39).count() == sum(binomial[:40])
    assert Budget(table).count() == 4**40 == sum(binomial)


def test_the_limit_is_inclusive() -> None:
    table = CostTable("flops", 5, ((1, 2),))
    assert Budget(table, 7).allows((1,))
    assert not Budget(table, 6).allows((1,))
    assert Budget(table).allows((1,))


def test_an_infeasible_limit_names_the_cheapest() -> None:
    budget = Budget(CostTable("flops", 1_000_000, ((9, 3), (7, 7))), 999_999)
    with pytest.raises(InputError) as caught:
        budget.require_feasible()
    message = str(caught.value)
    for part in ("constraint", "1,000,010 flops", "[1, 0]", "at most 999,999"):
        assert part in message
    assert budget.count() == 0
    assert list(budget.enumerate(())) == []
    Budget(budget.table, 1_000_010).require_feasible()
    Budget(budget.table).require_feasible()


def test_costs_of_other_lengths_are_refused() -> None:
    table = CostTable("flops", 0, ((1, 2), (1, 2)))
    with pytest.raises(ValueError, match="zip"):
        table.of((0,))


@pytest.mark.parametrize("limit", [FLOPs, Params])
@pytest.mark.parametrize("at_most", [0, -1, math.inf, math.nan])
def test_limits_are_positive_and_finite(limit: type[FLOPs | Params], at_most: float) -> None:
    with pytest.raises(InputError, match="at_most"):
        limit(at_most=at_most)
