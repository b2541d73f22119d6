"""Additive costs: a `[block][choice]` table, beside the cost of stem and head.

Integers stay integers. Floats count as the decimals that were written, so that 0.1 + 0.2 is within
0.3: a table is brought to whole units of the smallest decimal place, and costs are added and
compared as integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isfinite, lcm
from operator import index
from typing import SupportsFloat, SupportsIndex, final

import numpy as np

from raynas.errors import InputError, require
from raynas.space import Architecture

Amount = int | float
"""A cost, or a limit on one."""

REMEDY = "Give one finite cost for each choice of each block."


@final
@dataclass(frozen=True)
class CostTable:
    """An additive cost.

    Args:
        name: the quantity: `"flops"`, `"params"`, one of the user's own.
        base: the cost of stem and head.
        blocks: `[block][choice]` costs, integers or floats; kept as tuples of Python's numbers.

    Raises:
        InputError: no name, no blocks, a block without choices, an entry that is not a finite
            number, or costs whose sum exceeds the range of floats.
    """

    name: str
    base: Amount
    blocks: tuple[tuple[Amount, ...], ...]

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and bool(self.name)
        require(named, "name of a cost table", "a text", repr(self.name), "Name the cost.")
        title = f"cost table {self.name!r}"
        object.__setattr__(self, "base", as_amount(self.base, f"{title}, base", REMEDY))
        object.__setattr__(self, "blocks", as_blocks(self.blocks, title))
        if not self.whole:
            total = sum(abs(exact(cost)) for cost in self.entries)
            require(total < 10**300, title, "costs that add up to below 1e300", "more", REMEDY)

    @property
    def entries(self) -> list[Amount]:
        """All costs in one list, the base first."""
        return [self.base, *(cost for costs in self.blocks for cost in costs)]

    @cached_property
    def whole(self) -> bool:
        """Whether all costs are integers."""
        return all(isinstance(cost, int) for cost in self.entries)

    @cached_property
    def scale(self) -> int:
        """The number of units in a cost of 1; 1 where all costs are integers."""
        return lcm(*(exact(cost).denominator for cost in self.entries))

    @cached_property
    def units(self) -> tuple[tuple[int, ...], ...]:
        """`blocks` in units."""
        return tuple(tuple(int(exact(c) * self.scale) for c in costs) for costs in self.blocks)

    @cached_property
    def base_units(self) -> int:
        """`base` in units."""
        return int(exact(self.base) * self.scale)

    def amount(self, units: int) -> Amount:
        """Units as a cost: an integer if all entries are, else the nearest float."""
        return units if self.whole else float(Fraction(units, self.scale))

    def units_of(self, architecture: Architecture) -> int:
        """The cost of a whole architecture in units."""
        return self.base_units + sum(
            costs[choice] for costs, choice in zip(self.units, architecture, strict=True)
        )

    def of(self, architecture: Architecture) -> Amount:
        """The cost of a whole architecture: of floats the exact sum, rounded once."""
        return self.amount(self.units_of(architecture))

    def cheapest(self, prefix: Architecture = ()) -> Architecture:
        """The cheapest architecture that starts with `prefix`; ties go to the lowest choice."""
        return prefix + tuple(costs.index(min(costs)) for costs in self.units[len(prefix) :])

    def dearest(self, prefix: Architecture = ()) -> Architecture:
        """The dearest architecture that starts with `prefix`; ties go to the lowest choice."""
        return prefix + tuple(costs.index(max(costs)) for costs in self.units[len(prefix) :])


def as_blocks(blocks: object, title: str) -> tuple[tuple[Amount, ...], ...]:
    """Nested sequences (numpy's arrays included) as tuples of Python's numbers.

    Raises:
        InputError: see `CostTable`.
    """
    rows = as_sequence(blocks, title, "a list with one list of costs per block")
    require(len(rows) > 0, title, "at least one block", "none", REMEDY)
    found = []
    for block, row in enumerate(rows):
        place = f"{title}, block {block}"
        costs = as_sequence(row, place, "a list with one cost per choice")
        require(len(costs) > 0, place, "at least one choice", "none", REMEDY)
        found.append(
            tuple(as_amount(c, f"{place}, choice {i}", REMEDY) for i, c in enumerate(costs))
        )
    return tuple(found)


def as_sequence(value: object, argument: str, expected: str) -> list[object]:
    """The items of a list, a tuple, an array or a tensor.

    Raises:
        InputError: something that is not a sequence, or a text.
    """
    try:
        if not isinstance(value, str | bytes | dict | set | frozenset):
            return list(value)  # type: ignore[call-overload]
    except TypeError:
        pass
    raise InputError(argument, expected, repr(value), REMEDY)


def as_amount(
    value: object, argument: str, remedy: str, expected: str = "a finite number"
) -> Amount:
    """A finite number as one of Python's.

    Args:
        value: an integer or a float, also of numpy's or a tensor of one element; what numpy holds
            in fewer bits is taken as it prints, so that `np.float32(0.1)` is 0.1.
        argument: the name of the number in the error.
        remedy: how to mend it.
        expected: the kind of number in the error.

    Raises:
        InputError: something that is not a number (a truth value included), NaN or an infinity.
    """
    number: Amount | None = None
    try:
        if isinstance(value, np.floating):
            number = float(str(value))
        elif not isinstance(value, bool | np.bool_ | str | bytes):
            number = index(value) if isinstance(value, SupportsIndex) else None
    except TypeError:  # a tensor of floats has the method, and refuses
        pass
    try:
        if number is None and isinstance(value, SupportsFloat) and not isinstance(value, bool):
            number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    if number is None or not (isinstance(number, int) or isfinite(number)):
        raise InputError(argument, expected, repr(value), remedy)
    return number


def exact(value: Amount | Fraction) -> Fraction:
    """The decimal number that was written: 0.7 is 7/10, not the binary fraction just below it."""
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)


def show(value: Amount | Fraction) -> str:
    """A cost for a message: `1,234,000`, `0.35`."""
    return f"{int(value):,}" if value == int(value) else f"{float(value):,}"


def same_choices(table: CostTable, choices: Sequence[int]) -> None:
    """Raise `InputError` unless the table has this many choices in each block."""
    counts = [len(costs) for costs in table.blocks]
    require(
        counts == list(choices),
        f"cost table {table.name!r}",
        f"{list(choices)} choices per block, as the supernet has",
        counts,
        "Build the table from the supernet that is searched.",
    )
