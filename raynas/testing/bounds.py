"""The contract of limits: what a search relies on, against listing every architecture.

For a limit of your own, on a supernet of few architectures::

    def test_my_limit():
        check_bounds(MyLimit(at_most=3), my_supernet())
"""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import islice

import numpy as np

from raynas.costs import Limit, Limits
from raynas.costs.bounds import Bounds
from raynas.space import Architecture
from raynas.supernets import ChainSupernet

MOST = 20_000
"""The most architectures that are listed."""


def check_bounds(bounds: Bounds, supernet: ChainSupernet, *, draws: int = 50, seed: int = 0) -> int:
    """Check that a limit prices every choice, and allows, counts and draws what it says.

    Args:
        bounds: the limit.
        supernet: of at most 20,000 architectures; some of them legal.
        draws: how many architectures to draw.
        seed: of the draws.

    Returns:
        The number of legal architectures, by listing.

    Raises:
        InputError: as the limit itself, such as no legal architecture.
        AssertionError: a broken promise, by name.
    """
    space = supernet.space
    assert space.count() <= MOST, f"{space.count():,} architectures are too many to list"
    limit = bounds.limit(supernet)
    rows = [len(row) for row in limit.table.blocks]
    assert rows == list(space.choices), f"costs of {rows} choices instead of {list(space.choices)}"
    assert bounds.priced(supernet) == limit.table, "priced twice, it gives two tables"
    limits = Limits(space, (limit,))
    limits.require_feasible()
    legal = [each for each in space.enumerate() if keeps(limit, each)]
    assert limits.count() == len(legal), f"counts {limits.count()} of {len(legal)} legal ones"
    assert list(limits.enumerate()) == legal, "lists other architectures than the legal ones"
    allowed = [each for each in space.enumerate() if limits.allows(each)]
    assert allowed == legal, "allows other architectures than the legal ones"
    for depth in range(space.blocks + 1):
        possible = {each[:depth] for each in legal}
        for prefix in {each[:depth] for each in space.enumerate()}:
            assert limits.feasible(prefix) is (prefix in possible), f"wrong about prefix {prefix}"
    drawn = list(islice(limits.draw((), np.random.default_rng(seed)), draws))
    assert set(drawn) <= set(legal), "draws architectures that are not legal"
    description = limits.description()
    assert json.loads(json.dumps(description)) == description, f"no JSON: {description}"
    return len(legal)


def keeps(limit: Limit, architecture: Architecture) -> bool:
    """Whether an architecture keeps a limit, by adding up its costs, exactly."""
    cost = decimal(limit.table.base)
    for row, choice in zip(limit.table.blocks, architecture, strict=True):
        cost += decimal(row[choice])
    above = limit.at_most is not None and cost > decimal(limit.at_most)
    below = limit.at_least is not None and cost < decimal(limit.at_least)
    return not above and not below


def decimal(amount: int | float | Fraction) -> Fraction:
    """An amount as the decimal that was written."""
    return amount if isinstance(amount, Fraction) else Fraction(str(amount))
