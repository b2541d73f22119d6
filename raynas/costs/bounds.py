"""Limits as the user states them, before there is a supernet: `FLOPs`, `Params`, `Cost`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, final

from raynas.costs.counting import flops_table, params_table
from raynas.costs.limits import Limits
from raynas.costs.tables import Amount, CostTable, as_amount, as_blocks, exact
from raynas.costs.windows import Limit
from raynas.errors import InputError, require

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

Bound = int | float | str
"""A number in the unit of the cost, or a share of the largest architecture such as `"60%"`."""

FORMS = 'a number such as 3.1e6, or a share of the largest architecture such as "60%"'


@dataclass(frozen=True, kw_only=True)
class Bounds(ABC):
    """Bounds on one cost of an architecture, both inclusive.

    Without a bound, it is a cost for a strategy to minimise; those that every search knows need at
    least one.

    Args:
        at_most: the upper bound: a number, or a share of the largest architecture (`"60%"`).
        at_least: the lower bound, likewise.

    Raises:
        InputError: no bound where one is needed, one that is neither a finite number nor a share
            above 0 % and up to 100 %, or a lower bound above the upper one.
    """

    at_most: Bound | None = None
    at_least: Bound | None = None
    positive: ClassVar[bool] = False
    """Whether the cost is never 0 or below, nor then a bound on it."""
    needed: ClassVar[bool] = True
    """Whether a bound must be given."""

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for side in ("at_most", "at_least"):
            bound = getattr(self, side)
            if bound is not None:
                bound = as_bound(bound, f"{kind}({side})", self.positive)
                object.__setattr__(self, side, bound)
        require(
            self.at_most is not None or self.at_least is not None or not self.needed,
            kind,
            "at_most, at_least, or both",
            "neither",
            "State a bound, or omit the constraint.",
        )
        require_order(kind, self.at_most, self.at_least)

    @abstractmethod
    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The cost of each choice of each block of the supernet."""

    def limit(self, supernet: ChainSupernet) -> Limit:
        """The limit on the supernet's architectures, with shares as numbers."""
        table = self.priced(supernet)
        return Limit(table, resolved(self.at_most, table), resolved(self.at_least, table))


@final
@dataclass(frozen=True)
class FLOPs(Bounds):
    """Multiply-accumulates of convolutions and linear layers for one sample, as in the papers.

    Args and errors as those of `Bounds`; numbers must be positive.
    """

    positive: ClassVar[bool] = True

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The supernet's FLOPs table."""
        return flops_table(supernet)


@final
@dataclass(frozen=True)
class Params(Bounds):
    """Parameters of the network that would be retrained, affine batch norm included.

    Args and errors as those of `Bounds`; numbers must be positive.
    """

    positive: ClassVar[bool] = True

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The supernet's parameter table."""
        return params_table(supernet)


@final
@dataclass(frozen=True)
class Cost(Bounds):
    """Any other additive cost: energy, measured seconds, one of the user's own.

    Tables and reports take one that is called `latency` for seconds, and show milliseconds.

    Args:
        costs: `[block][choice]` costs, or a `CostTable`, which has a base cost, too.
        name: the quantity, in messages and records; if omitted that of the table, or `"cost"`.

    The bounds, `at_most` and `at_least`, are those of `Bounds`; without one, it is for a strategy
    to minimise.

    Raises:
        InputError: as `CostTable` and `Bounds`; or a name that raynas counts itself.
    """

    costs: CostTable | Sequence[Sequence[float]]
    name: str | None = None
    needed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        table = as_table(self.costs, self.name)
        object.__setattr__(self, "costs", table)
        object.__setattr__(self, "name", table.name)
        super().__post_init__()

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The given costs."""
        return as_table(self.costs, self.name)


def as_table(costs: CostTable | Sequence[Sequence[float]], name: str | None) -> CostTable:
    """The user's own costs as a table.

    Raises:
        InputError: see `Cost`.
    """
    if isinstance(costs, CostTable):
        table = costs if name is None else replace(costs, name=name)
    else:
        name = "cost" if name is None else name
        table = CostTable(name, 0, as_blocks(costs, f"cost table {name!r}"))
    require_own_name(table.name, "Cost(name)")
    return table


def require_own_name(name: object, argument: str) -> None:
    """Raise `InputError` unless a cost has a name, and none that raynas counts itself."""
    require(
        isinstance(name, str) and name not in ("", "flops", "params", "bitops"),
        argument,
        "a name of its own",
        repr(name),
        "Use FLOPs, Params or BitOps, or name the cost otherwise.",
    )


Constraint = Bounds | Sequence[Bounds]
"""Bounds on one cost, or on several: what `search` takes."""


def resolve_limits(constraint: Constraint | None, supernet: ChainSupernet) -> Limits:
    """The limits on one supernet's architectures.

    Args:
        constraint: bounds on one cost or several; `None` if every architecture is legal.
        supernet: whose costs are counted.

    Raises:
        InputError: something that is no bound, a table of another space, two tables of one name,
            or bounds in the wrong order. That no architecture is legal is not looked at.
    """
    stated: Sequence[Bounds] = ()
    if isinstance(constraint, Bounds):
        stated = (constraint,)
    elif isinstance(constraint, Sequence) and not isinstance(constraint, str):
        stated = constraint
    elif constraint is not None:
        stated = (constraint,)
    wrong = [bounds for bounds in stated if not isinstance(bounds, Bounds)]
    if wrong:
        raise InputError(
            "constraint",
            "FLOPs(…), Params(…), BitOps(…), Cost(…), or a list of them",
            repr(wrong[0]),
            "Write it as constraint=raynas.FLOPs(at_most=330e6).",
        )
    limits = tuple(bounds.limit(supernet) for bounds in stated)
    return Limits(supernet.space, limits, supernet.names)


def parse_bound(text: str) -> Bound:
    """Read a bound from a text, as the command line takes it.

    Args:
        text: `"330000000"`, `"3.1e6"`, `"0.35"`, or a share of the largest architecture: `"60%"`.

    Returns:
        An integer, a float, or the share as a text that `FLOPs`, `Params` and `Cost` take.

    Raises:
        InputError: a text that is neither, NaN, an infinity, or a share outside (0 %, 100 %].
    """
    return as_bound(text, "limit")


def as_bound(bound: object, argument: str, positive: bool = False) -> Bound:
    """A bound as a number of Python's or a share without spaces.

    Args:
        bound: as the user gave it.
        argument: its name in the error.
        positive: whether a number must be above 0.

    Raises:
        InputError: see `parse_bound`; or a number that is not positive.
    """
    remedy = "Write it as 330000000, 3.1e6 or 60%."
    text = bound.strip() if isinstance(bound, str) else ""
    digits = text.removesuffix("%").rstrip()
    number = number_in(digits) if isinstance(bound, str) else bound
    if number is None:
        raise InputError(argument, FORMS, repr(bound), remedy)
    if text.endswith("%"):
        inside = isinstance(number, int | float) and 0 < number <= 100
        require(inside, argument, "a share above 0% and up to 100%", repr(bound), remedy)
        return f"{digits}%"
    expected = "a positive finite number" if positive else "a finite number"
    amount = as_amount(number, argument, remedy, expected)
    require(amount > 0 or not positive, argument, expected, bound, remedy)
    return amount


def number_in(text: str) -> Amount | None:
    """The number that a text is, `None` if it is none."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def share(bound: Bound) -> Fraction | None:
    """The share that a bound is, in (0, 1]; `None` if it is a number."""
    if not isinstance(bound, str):
        return None
    number = number_in(bound.removesuffix("%"))
    return None if number is None else exact(number) / 100


def require_order(kind: str, at_most: Bound | None, at_least: Bound | None) -> None:
    """Raise `InputError` if two numbers, or two shares, are in the wrong order."""
    if at_most is None or at_least is None or isinstance(at_most, str) != isinstance(at_least, str):
        return
    upper, lower = (exact(b) if not isinstance(b, str) else share(b) for b in (at_most, at_least))
    require(
        upper is not None and lower is not None and lower <= upper,
        f"{kind}(at_least)",
        f"at most {at_most}, the upper bound",
        at_least,
        "Lower at_least, or raise at_most.",
    )


def resolved(bound: Bound | None, table: CostTable) -> Amount | Fraction | None:
    """A bound as a number in the unit of the table.

    Raises:
        InputError: a share of costs that are nowhere positive.
    """
    part = None if bound is None else share(bound)
    if part is None:
        assert not isinstance(bound, str)
        return bound
    largest = Fraction(table.units_of(table.dearest()), table.scale)
    require(
        largest > 0,
        f"cost table {table.name!r}",
        "a positive cost of the largest architecture, of which to take a share",
        float(largest),
        "Give the bound as a number.",
    )
    return part * largest
