"""Under one upper limit, generators are consumed as they always were: recorded searches resume.

The plain forms below are what drawing and enumeration once were; they must stay as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from oracle import spaces

from raynas.costs import CostTable, Limit, Limits
from raynas.space import Architecture


def plain_draw(
    table: CostTable, at_most: int, prefix: Architecture, rng: np.random.Generator
) -> Iterator[Architecture]:
    """Draws from steps of one 4096th of the room, rounded down."""
    blocks = table.blocks[len(prefix) :]
    extra = [[int(cost) - int(min(costs)) for cost in costs] for costs in blocks]
    room = min(sum(map(max, extra)), at_most - int(table.of(table.cheapest(prefix))))
    limit, unit = min(4096, room), max(room, 1)
    steps = [[c * limit // unit if c <= room else limit + 1 for c in costs] for costs in extra]
    ways = [np.ones(limit + 1)]
    for row in reversed(steps):
        total = np.zeros(limit + 1)
        for step in row:
            if step <= limit:
                total[step:] += ways[-1][: limit + 1 - step]
        ways.append(total)
    ways.reverse()
    while True:
        left, suffix = limit, []
        for block, u in enumerate(rng.random(len(steps))):
            weights = [ways[block + 1][left - s] if s <= left else 0.0 for s in steps[block]]
            sums = list(accumulate(weights))
            suffix.append(bisect_right(sums, u * sums[-1], hi=len(weights) - 1))
            left -= steps[block][suffix[-1]]
        yield prefix + tuple(suffix)


def plain_enumerate(
    table: CostTable, at_most: int, prefix: Architecture, rng: np.random.Generator | None
) -> Iterator[Architecture]:
    """A depth-first walk that shuffles the choices of each prefix with a legal completion."""
    if table.of(table.cheapest(prefix)) > at_most:
        return
    if len(prefix) == len(table.blocks):
        yield prefix
        return
    choices = np.arange(len(table.blocks[len(prefix)]))
    if rng is not None:
        rng.shuffle(choices)
    for choice in choices:
        yield from plain_enumerate(table, at_most, (*prefix, int(choice)), rng)


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_one_upper_limit_consumes_the_generator_as_ever(data: st.DataObject, seed: int) -> None:
    space = data.draw(spaces())
    costs = st.integers(0, data.draw(st.sampled_from([3, 50, 10**9])))
    rows = [data.draw(st.lists(costs, min_size=n, max_size=n)) for n in space.choices]
    table = CostTable("flops", data.draw(costs), tuple(map(tuple, rows)))
    some, other = (tuple(data.draw(st.integers(0, n - 1)) for n in space.choices) for _ in "ab")
    at_most = max(table.units_of(some), table.units_of(table.cheapest(other[:1])))
    unlimited = data.draw(st.booleans())
    limits = Limits(space, () if unlimited else (Limit(table, at_most),))
    at_most = table.units_of(table.dearest()) if unlimited else at_most
    prefix = some[: data.draw(st.integers(0, space.blocks))]
    new, old = np.random.default_rng(seed), np.random.default_rng(seed)
    drawn = list(islice(limits.proposals(prefix, new), 20))
    assert drawn == list(islice(plain_draw(table, at_most, prefix, old), 20))
    walked = list(islice(limits.enumerate(prefix, new), 20))
    assert walked == list(islice(plain_enumerate(table, at_most, prefix, old), 20))
    assert new.random() == old.random()
    assert next(limits.enumerate(prefix)) == next(plain_enumerate(table, at_most, prefix, None))
