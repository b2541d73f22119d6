"""One limit on one cost, and the room that it leaves behind a prefix."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import ceil, floor
from typing import Any, final

from raynas.costs.tables import Amount, CostTable, as_amount, exact, show
from raynas.errors import require
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class Window:
    """The room that one limit leaves to the blocks behind a prefix, in units of its table.

    Costs count from the cheapest choice of each block, so that all are at least 0 and the sum of
    one choice per block must lie from `low` to `high`.

    Args:
        costs: `[block][choice]`, of the blocks behind the prefix.
        room: the largest sum, one choice per block.
        low: the least sum that is legal; 0 or below if any is.
        high: the largest sum that is legal; `room` or above if any is.
    """

    costs: tuple[tuple[int, ...], ...]
    room: int
    low: int
    high: int

    @property
    def bounds(self) -> int:
        """The number of the two bounds that exclude anything."""
        return (self.low > 0) + (self.high < self.room)

    @property
    def closed(self) -> bool:
        """Whether no sum from 0 to `room` is legal; open ones may still hold no architecture."""
        return self.low > self.high or self.high < 0 or self.low > self.room

    def holds(self, suffix: Architecture) -> bool:
        """Whether the choices behind the prefix are legal."""
        return (
            self.low <= sum(row[c] for row, c in zip(self.costs, suffix, strict=True)) <= self.high
        )


@final
@dataclass(frozen=True)
class Limit:
    """An additive cost and its bounds.

    Args:
        table: the cost.
        at_most: the upper bound, inclusive; `None` if there is none.
        at_least: the lower bound, inclusive; `None` if there is none.

    Raises:
        InputError: a bound that is not a finite number, or bounds in the wrong order.
    """

    table: CostTable
    at_most: Amount | Fraction | None = None
    at_least: Amount | Fraction | None = None

    def __post_init__(self) -> None:
        name = self.table.name
        for side in ("at_most", "at_least"):
            bound = getattr(self, side)
            if bound is not None and not isinstance(bound, Fraction):
                bound = as_amount(bound, f"{side} of {name}", "Give a number, or omit the bound.")
                object.__setattr__(self, side, bound)
        if self.at_most is not None and self.at_least is not None:
            require(
                exact(self.at_least) <= exact(self.at_most),
                f"at_least of {name}",
                f"at most {show(self.at_most)}, the upper bound",
                show(self.at_least),
                "Lower at_least, or raise at_most.",
            )

    @property
    def bounded(self) -> bool:
        """Whether there is a bound; without one, it is a cost and no limit."""
        return self.at_most is not None or self.at_least is not None

    @cached_property
    def extras(self) -> tuple[tuple[int, ...], ...]:
        """`[block][choice]` units above the block's cheapest choice."""
        return tuple(tuple(cost - min(costs) for cost in costs) for costs in self.table.units)

    @cached_property
    def rooms(self) -> tuple[int, ...]:
        """`[blocks of the prefix]`: the largest sum of the extras of the other blocks."""
        largest = [max(costs) for costs in reversed(self.extras)]
        return tuple(accumulate(largest, initial=0))[::-1]

    @cached_property
    def range(self) -> tuple[int, int]:
        """The bounds on the sum of the extras of a whole architecture."""
        table, scale = self.table, self.table.scale
        start = table.base_units + sum(map(min, table.units))
        low = 0 if self.at_least is None else ceil(exact(self.at_least) * scale) - start
        high = self.rooms[0] if self.at_most is None else floor(exact(self.at_most) * scale) - start
        return low, high

    def allows(self, architecture: Architecture) -> bool:
        """Whether the architecture is within the bounds."""
        low, high = self.range
        spent = sum(row[choice] for row, choice in zip(self.extras, architecture, strict=True))
        return low <= spent <= high

    def window(self, prefix: Architecture = ()) -> Window:
        """The room behind a prefix."""
        low, high = self.range
        spent = sum(row[choice] for row, choice in zip(self.extras, prefix, strict=False))
        room = self.rooms[len(prefix)]
        return Window(self.extras[len(prefix) :], room, low - spent, high - spent)

    def __str__(self) -> str:
        bounds = [
            f"at {word} {show(bound)}"
            for word, bound in (("least", self.at_least), ("most", self.at_most))
            if bound is not None
        ]
        return f"{self.table.name} {' and '.join(bounds)}".strip()


def merged(a: Limit, b: Limit) -> Limit:
    """Both limits on one table as one.

    Raises:
        InputError: the tables differ, or the bounds contradict each other.
    """
    require(
        a.table == b.table,
        "constraint",
        "one table per name",
        f"two different tables named {a.table.name!r}",
        "Give one of them another name.",
    )
    upper = [limit.at_most for limit in (a, b) if limit.at_most is not None]
    lower = [limit.at_least for limit in (a, b) if limit.at_least is not None]
    return Limit(a.table, min(upper, key=exact, default=None), max(lower, key=exact, default=None))


def require_possible(limit: Limit, shown: Callable[[Architecture], str]) -> None:
    """Raise `InputError`, naming the nearest architecture, if one bound excludes everything."""
    table, window = limit.table, limit.window()
    cheapest, dearest = table.cheapest(), table.dearest()
    if limit.at_most is not None:
        require(
            window.high >= 0,
            "constraint",
            f"a limit of at least {show(table.of(cheapest))} {table.name}, the cost of the "
            f"cheapest architecture {shown(cheapest)}",
            f"at most {show(limit.at_most)}",
            "Raise the limit.",
        )
    if limit.at_least is not None:
        require(
            window.low <= window.room,
            "constraint",
            f"a limit of at most {show(table.of(dearest))} {table.name}, the cost of the "
            f"dearest architecture {shown(dearest)}",
            f"at least {show(limit.at_least)}",
            "Lower the limit.",
        )


def described(limit: Limit) -> dict[str, Any]:
    """One limit for `config.json`."""
    table = limit.table
    content = repr((table.scale, table.base_units, table.units)).encode()
    bounds = {"at_least": limit.at_least, "at_most": limit.at_most}
    numbers = {side: plain(bound) for side, bound in bounds.items() if bound is not None}
    return {**numbers, "table": hashlib.blake2b(content, digest_size=16).hexdigest()}


def plain(bound: Any) -> Amount:
    """A bound as a number of JSON's."""
    return int(bound) if bound == int(bound) else float(bound)
