"""Limits against listing everything; the tables of real supernets are tested with those."""

from __future__ import annotations

import json
import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import cases, keeps, listed, naive_cost, upper

from raynas.costs import Cost, CostTable, Limit, Limits, resolve_limits
from raynas.costs.limits import FEW
from raynas.errors import InputError
from raynas.space import Architecture, SearchSpace
from raynas.testing.supernets import small_supernet

Case = tuple[Limits, Architecture]


@given(cases())
def test_count_and_feasible_equal_listing(case: Case) -> None:
    limits, prefix = case
    count = limits.count(prefix)
    assert count == len(listed(limits, prefix))
    assert type(count) is int
    assert limits.feasible(prefix) == (count > 0)


@given(cases())
def test_allows_and_costs_equal_adding_up(case: Case) -> None:
    limits, _ = case
    for architecture in islice(limits.space.enumerate(), 20):
        assert limits.allows(architecture) == keeps(limits, architecture)
        for limit in limits.limits:
            cost = limits.costs(architecture)[limit.table.name]
            assert cost == float(naive_cost(limit.table, architecture)) or type(cost) is int
            assert type(cost) is float or cost == naive_cost(limit.table, architecture)


@given(cases())
def test_enumerate_equals_listing_in_order(case: Case) -> None:
    limits, prefix = case
    assert list(limits.enumerate(prefix)) == listed(limits, prefix)


@given(cases(), st.integers(0, 2**32 - 1))
def test_shuffled_enumerate_is_the_same_set(case: Case, seed: int) -> None:
    limits, prefix = case
    shuffled = list(limits.enumerate(prefix, np.random.default_rng(seed)))
    assert sorted(shuffled) == listed(limits, prefix)
    assert all(type(choice) is int for architecture in shuffled for choice in architecture)


def test_shuffled_enumerate_begins_anywhere() -> None:
    limits = upper(CostTable("flops", 0, ((0, 1), (0, 1), (0, 1))), 2)
    starts = {next(limits.enumerate((), np.random.default_rng(seed))) for seed in range(60)}
    assert starts == set(listed(limits))


@given(cases())
def test_require_feasible_says_what_listing_says(case: Case) -> None:
    limits, _ = case
    if listed(limits):
        limits.require_feasible()
        return
    with pytest.raises(InputError, match="constraint") as caught:
        limits.require_feasible()
    named = json.loads("[" + str(caught.value).split("[")[1].split("]")[0] + "]")
    assert limits.space.validate(named)


@given(cases(), st.integers(0, 2**32 - 1))
def test_draws_are_legal_and_reach_everything(case: Case, seed: int) -> None:
    limits, prefix = case
    legal, rng = listed(limits, prefix), np.random.default_rng(seed)
    drawn = list(islice(limits.draw(prefix, rng), 5))
    assert len(drawn) == (5 if legal else 0)
    assert set(drawn) <= set(legal)
    if 0 < len(legal) <= 4:
        assert set(islice(limits.draw(prefix, rng), 200)) == set(legal)


def test_count_is_exact_beyond_64_bits() -> None:
    table = CostTable("flops", 0, ((0, 1, 1, 1),) * 40)
    binomial = [math.comb(40, ones) * 3**ones for ones in range(41)]
    assert upper(table, 39).count() == sum(binomial[:40])
    assert upper(table).count() == 4**40 == sum(binomial)
    space = SearchSpace((4,) * 40)
    assert Limits(space, (Limit(table, 30, 20),)).count() == sum(binomial[20:31])
    other = CostTable("zeros", 0, ((1, 0, 0, 0),) * 40)
    both = Limits(space, (Limit(table, 30, 20), Limit(other, 10)))
    assert both.count() == sum(binomial[30:31])


def test_costs_beyond_64_bits_do_not_overflow() -> None:
    blocks = tuple((0, 2**62 + i, 2**64) for i in range(6))
    limits = upper(CostTable("flops", 2**70, blocks), 2**70 + 3 * 2**63)
    assert limits.count() == len(listed(limits))
    drawn = set(islice(limits.draw((), np.random.default_rng(0)), 20))
    assert drawn <= set(listed(limits))


def test_the_number_of_legal_architectures_of_a_huge_space_is_unknown_not_guessed() -> None:
    rng = np.random.default_rng(0)
    blocks = tuple(tuple(int(c) for c in rng.integers(0, 10**12, 5)) for _ in range(60))
    table = CostTable("flops", 0, blocks)
    middle = (table.of(table.cheapest()) + table.of(table.dearest())) // 2
    limits = upper(table, int(middle))
    assert limits.count() is None
    assert limits.feasible()
    assert limits.count(next(limits.enumerate())[:-10]) is not None


def test_decimals_are_the_ones_that_were_written() -> None:
    limits = upper(CostTable("seconds", 0.1, ((0.2, 0.3), (0.0, 1e-9))), 0.3)
    assert list(limits.enumerate()) == [(0, 0)]
    assert limits.costs((0, 0)) == {"seconds": 0.3}
    assert limits.costs((1, 1)) == {"seconds": 0.400000001}


def test_limits_are_inclusive() -> None:
    table = CostTable("flops", 5, ((1, 2, 3),))
    limits = Limits(SearchSpace((3,)), (Limit(table, at_most=7, at_least=7),))
    assert [limits.allows((choice,)) for choice in range(3)] == [False, True, False]
    assert Limits(SearchSpace((3,))).allows((1,))


def test_limits_on_one_table_are_merged() -> None:
    table = CostTable("flops", 0, ((1, 2, 3, 4),))
    stated = (Limit(table, 4), Limit(table, at_least=2), Limit(table, 3), Limit(table, at_least=1))
    limits = Limits(SearchSpace((4,)), stated)
    assert limits.limits == (Limit(table, 3, 2),)
    with pytest.raises(InputError, match=r"at_least of flops: expected at most 1.*got 2"):
        Limits(SearchSpace((4,)), (Limit(table, 1), Limit(table, at_least=2)))


def test_two_tables_of_one_name_are_refused() -> None:
    a, b = CostTable("ms", 0, ((1, 2),)), CostTable("ms", 0, ((1, 3),))
    with pytest.raises(InputError, match="two different tables named 'ms'"):
        Limits(SearchSpace((2,)), (Limit(a, 2), Limit(b, 2)))


def test_a_table_of_another_space_is_refused() -> None:
    table = CostTable("ms", 0, ((1, 2), (1, 2)))
    with pytest.raises(InputError, match=r"cost table 'ms': expected \[2, 3\] .*got \[2, 2\]"):
        Limits(SearchSpace((2, 3)), (Limit(table, 9),))


def test_an_infeasible_upper_limit_names_the_cheapest() -> None:
    limits = upper(CostTable("flops", 1_000_000, ((9, 3), (7, 7))), 999_999)
    with pytest.raises(InputError) as caught:
        limits.require_feasible()
    message = str(caught.value)
    for part in ("constraint", "1,000,010 flops", "[1, 0]", "at most 999,999", "Raise"):
        assert part in message
    assert limits.count() == 0
    assert list(limits.enumerate(())) == []
    upper(CostTable("flops", 1_000_000, ((9, 3), (7, 7))), 1_000_010).require_feasible()


def test_an_infeasible_lower_limit_names_the_dearest() -> None:
    table = CostTable("ms", 0.5, ((0.25, 1.0), (0.5, 0.25)))
    limits = Limits(SearchSpace((2, 2)), (Limit(table, at_least=2.01),))
    with pytest.raises(InputError, match=r"at most 2 ms, .* \[1, 0\], got at least 2\.01. Lower"):
        limits.require_feasible()


def test_a_gap_between_costs_names_the_nearest() -> None:
    table = CostTable("flops", 0, ((0, 100), (0, 10)))
    limits = Limits(SearchSpace((2, 2)), (Limit(table, at_most=60, at_least=20),))
    with pytest.raises(InputError, match=r"nearest, \[0, 1\], has 10 flops, and") as caught:
        limits.require_feasible()
    assert "got no architecture that keeps flops at least 20 and at most 60" in str(caught.value)


def test_errors_name_choices_where_the_supernet_is_known() -> None:
    supernet = small_supernet(blocks=2, choices=2)
    costs, names = ((0, 100), (0, 10)), " ".join(supernet.decode((0, 1)))
    for bounds, shown in (
        ({"at_most": -1}, f"cheapest architecture [0, 0] ({' '.join(supernet.decode((0, 0)))})"),
        ({"at_least": 111}, f"dearest architecture [1, 1] ({' '.join(supernet.decode((1, 1)))})"),
        ({"at_most": 60, "at_least": 20}, f"the nearest, [0, 1] ({names}), has 10 ms"),
    ):
        with pytest.raises(InputError) as caught:
            resolve_limits(Cost(costs, "ms", **bounds), supernet).require_feasible()
        assert shown in str(caught.value)


def test_limits_that_contradict_each_other_name_the_nearest() -> None:
    flops = CostTable("flops", 0, ((10, 20), (10, 20), (10, 20)))
    params = CostTable("params", 0, ((1, 2), (1, 2), (1, 2)))
    limits = Limits(SearchSpace((2, 2, 2)), (Limit(flops, 30), Limit(params, at_least=5)))
    with pytest.raises(InputError) as caught:
        limits.require_feasible()
    message = str(caught.value)
    both = "flops at most 30; params at least 5"
    for part in (f"40 flops, 4 params, and breaks {both}", f"keeps {both}", "Widen"):
        assert part in message
    assert list(limits.draw((), np.random.default_rng(0))) == []
    assert limits.count() == 0


def test_only_the_limits_that_contradict_each_other_are_blamed() -> None:
    flops = CostTable("flops", 0, ((10, 20), (10, 20), (10, 20)))
    params = CostTable("params", 0, ((1, 2), (1, 2), (1, 2)))
    latency = CostTable("latency", 0, ((3, 4), (4, 3), (3, 4)))
    bounds = (Limit(latency, at_most=11, at_least=10), Limit(flops, 40), Limit(params, at_least=5))
    limits = Limits(SearchSpace((2, 2, 2)), bounds)
    assert limits.conflict() == bounds[1:]
    with pytest.raises(InputError) as caught:
        limits.require_feasible()
    assert "latency at" not in str(caught.value).split(", got ")[1]
    kept = Limits(SearchSpace((2, 2, 2)), bounds[:2])
    assert kept.conflict() == kept.limits


def opposed() -> tuple[CostTable, CostTable]:
    """Two costs of 12 blocks that agree almost: cheap in one is cheap in the other."""
    rng = np.random.default_rng(0)
    first = rng.integers(10**6, 10**7, (12, 4))
    second = first + rng.integers(0, 10**5, (12, 4))
    as_tuples = [tuple(tuple(int(c) for c in row) for row in costs) for costs in (first, second)]
    return CostTable("a", 0, as_tuples[0]), CostTable("b", 0, as_tuples[1])


def test_draws_under_limits_that_nearly_contradict_each_other_end() -> None:
    """Rejection alone would find about one legal architecture in millions."""
    a, b = opposed()
    space, rng = SearchSpace((4,) * 12), np.random.default_rng(0)
    middle = sorted(a.of(space.sample(rng)) for _ in range(99))[49]
    limits = Limits(space, (Limit(a, middle), Limit(b, at_least=int(middle) + 11 * 10**5)))
    count = limits.count()
    assert count is None or count < 10**4
    drawn = list(islice(limits.draw((), rng), 10))
    assert all(keeps(limits, architecture) for architecture in drawn)
    assert bool(drawn) == limits.feasible()


def test_few_legal_architectures_in_a_narrow_window_are_equally_likely() -> None:
    """So narrow that drawing starves: then they are listed."""
    rng = np.random.default_rng(3)
    blocks = tuple(tuple(int(c) for c in rng.integers(0, 10**9, 3)) for _ in range(10))
    table, space = CostTable("flops", 0, blocks), SearchSpace((3,) * 10)
    costs = sorted(table.of(a) for a in space.enumerate())
    limits = Limits(space, (Limit(table, costs[30_003], costs[30_000]),))
    drawn = list(islice(limits.draw((), rng), 400))
    assert FEW > 4
    assert len(set(drawn)) == 4
    assert min(drawn.count(a) for a in set(drawn)) > 60


def test_equal_bounds_are_met_exactly() -> None:
    """Ten of twenty choices of one kind, and no more than 30 % of the dear ones."""
    kind = CostTable("kind", 0, ((0, 1, 1, 0),) * 20)
    dear = CostTable("dear", 0.0, ((0.1, 0.2, 0.7, 0.1),) * 20)
    limits = Limits(SearchSpace((4,) * 20), (Limit(kind, 10, 10), Limit(dear, 3.0)))
    assert limits.feasible()
    assert not Limits(limits.space, (Limit(kind, 10, 10), Limit(dear, 2.9))).feasible()
    (architecture,) = islice(limits.draw((), np.random.default_rng(0)), 1)
    assert sum(choice in (1, 2) for choice in architecture) == 10


def test_costs_of_other_lengths_are_refused() -> None:
    table = CostTable("flops", 0, ((1, 2), (1, 2)))
    with pytest.raises(ValueError, match="zip"):
        table.of((0,))
    with pytest.raises(ValueError, match="zip"):
        upper(table, 3).allows((0,))


def test_description_is_json_and_tells_tables_apart() -> None:
    a, b = CostTable("ms", 0, ((1, 2),)), CostTable("ms", 0, ((1, 3),))
    space = SearchSpace((2,))
    texts = [
        json.dumps(Limits(space, limits).description())
        for limits in ((), (Limit(a, 2),), (Limit(b, 2),), (Limit(a, 3),), (Limit(a, at_least=2),))
    ]
    assert len(set(texts)) == 5
    assert texts[0] == "{}"
    assert json.loads(texts[1])["ms"]["at_most"] == 2
