"""The freezing tests, against PCF-ES Algorithm 1 written out in whole numbers."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st
from searching import limited, problems

from raynas.costs import CostTable
from raynas.evolution.freezing import (
    NO_PARENT,
    NO_SUFFIX,
    choice_percentages,
    initial_freeze,
    majority,
    overwrite,
    passes,
    progressive_freeze,
    refusal,
)
from raynas.evolution.strategy import Problem
from raynas.space import Architecture, SearchSpace
from raynas.testing.strategies import legal

CHOICES = 4
censuses = st.integers(1, 7).flatmap(
    lambda blocks: st.lists(
        st.tuples(*[st.sampled_from([0, 0, 0, 1, 2, 3])] * blocks), min_size=1, max_size=12
    )
)
percents = st.integers(1, 99)


def naive_passes(census: list[Architecture], blocks: list[int], h: int, ratio: int) -> bool:
    """Both tests for some blocks; `h` and `ratio` are percents."""
    counts = []
    for block in blocks:
        column = [architecture[block] for architecture in census]
        counts.append(max(column.count(choice) for choice in range(CHOICES)))
    mean = 100 * sum(counts) > h * len(census) * len(blocks)
    exceeding = [count for count in counts if 100 * count > h * len(census)]
    return mean and 100 * len(exceeding) > ratio * len(blocks)


def naive_initial(census: list[Architecture], h: int, ratio: int) -> int:
    for j in range(len(census[0]), 0, -1):
        if naive_passes(census, list(range(j)), h, ratio):
            return j
    return 0


def naive_progressive(census: list[Architecture], j: int, f: int, h: int, ratio: int) -> int:
    for x in range(f, 0, -1):
        if j + x <= len(census[0]) and naive_passes(census, list(range(j, j + x)), h, ratio):
            return x
    return 0


def percentages_of(census: list[Architecture]) -> tuple[tuple[Fraction, ...], ...]:
    return choice_percentages(census, SearchSpace((CHOICES,) * len(census[0])))


@given(census=censuses, h=percents, ratio=st.integers(0, 99))
@example(census=[(0, 0, 0)] * 7 + [(1, 1, 1)] * 3, h=70, ratio=50)
@example(census=[(0, 0)] * 8 + [(1, 1)] * 2, h=70, ratio=50)
@settings(max_examples=300)
def test_initial_freeze(census: list[Architecture], h: int, ratio: int) -> None:
    frozen = initial_freeze(percentages_of(census), h / 100, ratio / 100)
    assert frozen == naive_initial(census, h, ratio)


@given(
    census=censuses,
    h=percents,
    ratio=st.integers(0, 99),
    j=st.integers(0, 7),
    f=st.integers(1, 8),
)
@settings(max_examples=300)
def test_progressive_freeze(census: list[Architecture], h: int, ratio: int, j: int, f: int) -> None:
    more = progressive_freeze(percentages_of(census), j, f, h / 100, ratio / 100)
    assert more == naive_progressive(census, j, f, h, ratio)


@given(census=censuses)
def test_percentages_and_majority(census: list[Architecture]) -> None:
    percentages = percentages_of(census)
    for block, row in enumerate(percentages):
        column = [architecture[block] for architecture in census]
        assert sum(row) == 1
        assert [share * len(census) for share in row] == [column.count(c) for c in range(CHOICES)]
        assert majority(percentages)[block] == max(sorted(set(column)), key=column.count)


def test_forty_of_fifty_are_eighty_percent() -> None:
    """The example of PCF-ES, section 3.1."""
    census = [(2, 0)] * 40 + [(0, 1)] * 5 + [(1, 1)] * 5
    percentages = choice_percentages(census, SearchSpace((3, 2)))
    assert percentages[0] == (Fraction(1, 10), Fraction(1, 10), Fraction(8, 10))
    assert majority(percentages) == (2, 0)


def test_seven_of_ten_blocks_are_a_ratio_of_seventy_percent() -> None:
    """The example of PCF-ES, section 3.4: the ratio must exceed its threshold, not reach it."""
    high, low = (Fraction(9, 10), Fraction(1, 10)), (Fraction(6, 10), Fraction(4, 10))
    percentages = (high, low) * 3 + (high,) * 4
    assert passes(percentages, threshold=0.7, block_ratio=0.69)
    assert not passes(percentages, threshold=0.7, block_ratio=0.7)


def test_mean_alone_is_not_enough() -> None:
    """One unanimous block lifts the mean over the threshold, but only 1 of 2 blocks exceeds it."""
    percentages = ((Fraction(1), Fraction(0)), (Fraction(1, 2), Fraction(1, 2)))
    assert not passes(percentages, threshold=0.7, block_ratio=0.5)
    assert passes(percentages, threshold=0.7, block_ratio=0.4)
    assert initial_freeze(percentages, 0.7, 0.5) == 1


def test_reaching_the_threshold_is_not_exceeding_it() -> None:
    """0.7 is 7/10 here; as binary floating point the mean of three would be above it."""
    reached = ((Fraction(7, 10), Fraction(3, 10)),) * 3
    assert initial_freeze(reached, 0.7, 0.5) == 0
    assert initial_freeze(reached, 0.6999, 0.5) == 3
    mixed = tuple((Fraction(n, 10), Fraction(10 - n, 10)) for n in (8, 8, 5))
    assert not passes(mixed, threshold=0.7, block_ratio=0.5)
    assert passes(mixed, threshold=0.6999, block_ratio=0.5)


def test_shallow_blocks_may_stay_below_if_the_mean_passes() -> None:
    """The largest j counts, not the first block that fails."""
    rows = [0.6, 0.9, 0.9, 0.5]
    percentages = tuple((Fraction(str(r)), 1 - Fraction(str(r))) for r in rows)
    assert initial_freeze(percentages, 0.7, 0.5) == 3
    assert progressive_freeze(percentages, 1, 3, 0.7, 0.5) == 3
    assert progressive_freeze(percentages, 1, 2, 0.7, 0.5) == 2
    assert progressive_freeze(percentages, 3, 3, 0.7, 0.5) == 0
    assert progressive_freeze(percentages, 4, 3, 0.7, 0.5) == 0


@given(problem=problems(), data=st.data())
def test_overwrite_keeps_legal_distinct_parents_in_order(
    problem: Problem, data: st.DataObject
) -> None:
    every = sorted(legal(problem))
    top = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=8))
    whole = data.draw(st.tuples(*[st.integers(0, n - 1) for n in problem.space.choices]))
    prefix = whole[: data.draw(st.integers(0, problem.space.blocks))]
    parents: list[Architecture] = []
    for architecture in top:
        changed = prefix + architecture[len(prefix) :]
        if changed in every and changed not in parents:
            parents.append(changed)
    assert overwrite(problem, top, prefix) == tuple(parents)
    expected = None if parents else NO_PARENT
    assert refusal(problem, prefix, parents) == (expected if legal(problem, prefix) else NO_SUFFIX)


def test_overwrite_drops_what_becomes_too_expensive_and_merges_what_becomes_equal() -> None:
    table = CostTable("flops", 0, ((0, 3), (0, 1, 2)))
    problem = limited(table, 4)
    top = [(0, 2), (0, 1), (1, 1), (1, 0)]
    assert overwrite(problem, top, (1,)) == ((1, 1), (1, 0))
