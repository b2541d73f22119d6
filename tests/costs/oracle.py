"""Small spaces with tables and limits of every kind, and the legal architectures by trying all."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from raynas.costs import CostTable, Limit, Limits
from raynas.space import Architecture, SearchSpace

integers = st.integers(0, 12)
signed = st.integers(-5, 12)
huge = st.integers(0, 10**25)
decimals = st.integers(-30, 120).map(lambda tenths: tenths / 10)
tiny = st.integers(0, 99).map(lambda n: float(f"{n}e-7"))
mixed = st.one_of(integers, decimals)
KINDS = [integers, signed, huge, decimals, tiny, mixed]


def naive_cost(table: CostTable, architecture: Architecture) -> Fraction:
    """The cost of an architecture, adding up the decimals that were written."""
    total = Fraction(str(table.base))
    for block in range(len(table.blocks)):
        total += Fraction(str(table.blocks[block][architecture[block]]))
    return total


def keeps(limits: Limits, architecture: Architecture) -> bool:
    """Whether an architecture keeps all limits."""
    for limit in limits.limits:
        cost = naive_cost(limit.table, architecture)
        if limit.at_most is not None and cost > Fraction(str(limit.at_most)):
            return False
        if limit.at_least is not None and cost < Fraction(str(limit.at_least)):
            return False
    return True


def listed(limits: Limits, prefix: Architecture = ()) -> list[Architecture]:
    """Every legal architecture with the prefix, in lexicographic order, by trying all."""
    return [a for a in limits.space.enumerate(prefix) if keeps(limits, a)]


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Up to five blocks of up to four choices."""
    return SearchSpace(tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))))


@st.composite
def tables(draw: st.DrawFn, space: SearchSpace, name: str = "flops") -> CostTable:
    """A table of one kind of numbers."""
    kind = draw(st.sampled_from(KINDS))
    rows = [draw(st.lists(kind, min_size=n, max_size=n)) for n in space.choices]
    return CostTable(name, draw(kind), tuple(map(tuple, rows)))


@st.composite
def limited(draw: st.DrawFn, space: SearchSpace, name: str = "flops") -> Limit:
    """Bounds at, or a little beside, the costs of some architectures."""
    table = draw(tables(space, name))
    costs = sorted({table.of(a) for a in space.enumerate()})
    near = st.sampled_from(costs) | st.sampled_from([costs[0] - 1, costs[-1] + 1])
    bounds = sorted([draw(near), draw(near)])
    upper, lower = draw(st.sampled_from([(0, 0), (1, 0), (1, 0), (0, 1), (1, 1)]))
    return Limit(table, bounds[1] if upper else None, bounds[0] if lower else None)


@st.composite
def cases(draw: st.DrawFn, most: int = 3) -> tuple[Limits, Architecture]:
    """Up to `most` limits, and a prefix of one of the architectures, legal or not."""
    space = draw(spaces())
    count = draw(st.integers(0, most))
    limits = Limits(space, tuple(draw(limited(space, f"cost {i}")) for i in range(count)))
    some = tuple(draw(st.integers(0, n - 1)) for n in space.choices)
    return limits, some[: draw(st.integers(0, space.blocks))]


def upper(table: CostTable, at_most: int | float | None = None) -> Limits:
    """The space of a table under one upper limit."""
    space = SearchSpace(tuple(len(costs) for costs in table.blocks))
    return Limits(space, (Limit(table, at_most),))
