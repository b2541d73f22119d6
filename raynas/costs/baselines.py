"""Architectures to compare a search with: one choice everywhere, and random ones of a cost."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from raynas.costs.limits import Limits
from raynas.costs.tables import Amount, CostTable, as_amount, exact, show
from raynas.costs.windows import Limit
from raynas.errors import InputError, is_number, is_whole, require
from raynas.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

DRAWS = 100
"""The draws for each architecture that is wanted, after which the rest are enumerated."""


def same_choice(supernet: ChainSupernet, choice: int | str) -> Architecture:
    """The architecture with one choice in every block (SPOS: all choice_3), by name or index.

    Raises:
        InputError: a block does not have it.
    """
    return supernet.encode([choice] * supernet.space.blocks)


def random_near(
    table: CostTable,
    amount: Amount,
    count: int,
    *,
    within: float = 0.02,
    seed: int = 0,
    others: Collection[Architecture] = (),
) -> list[Architecture]:
    """Draw different random architectures of about one cost, uniform over those that there are.

    Args:
        table: the cost.
        amount: that they should have.
        count: of architectures.
        within: the share of the amount by which costs may be lower or higher.
        seed: of the draws.
        others: architectures that are not wanted, such as the one they are compared with.

    Raises:
        InputError: fewer architectures than that have such a cost; the nearest are named where
            none has.
    """
    require(is_whole(count) and count >= 1, "count", "at least 1", repr(count), "Draw some.")
    require(
        is_number(within) and 0 <= within < 1, "within", "a share from 0 to below 1", repr(within),
        "Use 0.02 for 2 %.",
    )  # fmt: skip
    middle = exact(as_amount(amount, "amount", "Give the cost of an architecture."))
    room = abs(middle) * Fraction(str(within))
    space = SearchSpace(tuple(len(costs) for costs in table.blocks))
    limits = Limits(space, (Limit(table, middle + room, middle - room),))
    limits.require_feasible()
    rng = np.random.default_rng(seed)
    drawn = islice(limits.draw((), rng), DRAWS * count)
    found: dict[Architecture, None] = {}
    for architecture in chain(drawn, limits.enumerate((), rng)):
        if architecture not in others:
            found[architecture] = None
        if len(found) == count:
            return list(found)
    raise InputError(
        "count",
        f"at most {len(found)}, the architectures with {show(middle - room)} to "
        f"{show(middle + room)} {table.name}",
        count,
        "Ask for fewer, or widen within.",
    )
