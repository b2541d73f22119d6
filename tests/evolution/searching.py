"""Problems that the tests of this room share; the search loop is that of the contract kit."""

from __future__ import annotations

from hypothesis import strategies as st

from raynas.costs import CostTable, Limit, Limits
from raynas.evolution import Problem
from raynas.space import SearchSpace


def unconstrained(*choices: int) -> Problem:
    """A problem in which everything is legal; later choices cost more."""
    space = SearchSpace(choices)
    table = CostTable("flops", 1, tuple(tuple(range(count)) for count in choices))
    return Problem(space, Limits(space), {table.name: table})


def limited(table: CostTable, at_most: int | None = None) -> Problem:
    """The space of a table under one upper limit."""
    space = SearchSpace(tuple(len(costs) for costs in table.blocks))
    return Problem(space, Limits(space, (Limit(table, at_most),)))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small spaces; limits that leave from one architecture to all of them."""
    large = st.lists(st.integers(2, 4), min_size=4, max_size=5)
    choices = tuple(draw(large | st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    costs = st.integers(0, draw(st.sampled_from([1, 5, 10**10])))
    blocks = tuple(tuple(draw(st.lists(costs, min_size=n, max_size=n))) for n in choices)
    table = CostTable("flops", draw(costs), blocks)
    space = SearchSpace(choices)
    totals = sorted(table.of(a) for a in space.enumerate())
    few = st.integers(0, min(5, len(totals) - 1)).map(lambda rank: totals[rank])
    any_of_them = st.sampled_from(totals)
    at_most = draw(st.one_of(st.none(), few, any_of_them))
    return limited(table, at_most)
