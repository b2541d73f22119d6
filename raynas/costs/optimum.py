"""The architecture of least cost within limits, by integer programming (`scipy.optimize.milp`).

Both the cost and the limits add up over blocks, so that this is a knapsack with one choice from
each block. A solver keeps limits to a tolerance only; here they are widened by half a unit for it,
which leaves every legal architecture in, and what it finds is looked at in whole numbers: one that
breaks a limit is excluded, and the next one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from raynas.costs.feasibility import chosen, memberships
from raynas.costs.limits import Limits
from raynas.costs.native_output import stdout_on_stderr
from raynas.costs.tables import Amount, CostTable, same_choices
from raynas.costs.windows import Window
from raynas.space import Architecture

SCALE = 1e4
"""The largest sum of the cost, and of each limit, as the solver sees them: its tolerances, of 1e-6,
are then a ten-thousandth of a millionth."""

EXCLUSIONS = 50
"""The most solutions in a row that break a limit by less than the solver can see."""

NODES = 1_000_000
"""The most branches of the integer program: a number, not seconds, so that the answer is the
same on every machine."""


@final
@dataclass(frozen=True)
class Optimum:
    """The architecture of least cost.

    Args:
        architecture: legal.
        cost: of it.
        proven: whether no legal architecture costs less, to 1e-10 of the dearest one's cost; if
            not, the branches of the solver were used up.
    """

    architecture: Architecture
    cost: Amount
    proven: bool


def least(table: CostTable, limits: Limits) -> Optimum | None:
    """The cheapest legal architecture.

    Args:
        table: the cost.
        limits: of the same space.

    Returns:
        It, or `None` where bounds are too narrow for the solver to find what they hold.

    Raises:
        InputError: a table of another space, or no architecture is legal.
    """
    same_choices(table, limits.space.choices)
    limits.require_feasible()
    windows = [window for window in limits.windows() if window.bounds > 0]
    excluded: list[Architecture] = []
    for _ in range(EXCLUSIONS):
        found, proven = cheapest(table, windows, limits.space.choices, excluded)
        if found is None:
            return None
        if limits.allows(found):
            return Optimum(found, table.of(found), proven)
        excluded.append(found)
    return None


def cheapest(
    table: CostTable,
    windows: Sequence[Window],
    choices: Sequence[int],
    excluded: Sequence[Architecture],
) -> tuple[Architecture | None, bool]:
    """The cheapest choices within windows, to the tolerance of the solver.

    Args:
        table: the cost.
        windows: that exclude something.
        choices: of each block.
        excluded: architectures that are not wanted.

    Returns:
        Them, and whether that is proven; `None` if there are none.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    starts = np.cumsum(choices) - np.asarray(choices)
    constraints: list[Any] = [LinearConstraint(memberships(choices), 1.0, 1.0)]
    for window in windows:
        # Division of Python's integers is right for any of them, also beyond the range of floats.
        row = [SCALE * (cost / window.room) for costs in window.costs for cost in costs]
        low, high = (
            SCALE * float(Fraction(2 * bound + half, 2 * window.room))
            for bound, half in ((max(window.low, 0), -1), (min(window.high, window.room), 1))
        )
        constraints.append(LinearConstraint([row], low, high))
    for architecture in excluded:
        taken = np.zeros(sum(choices))
        taken[starts + np.asarray(architecture)] = 1.0
        constraints.append(LinearConstraint([taken], -np.inf, len(choices) - 1))
    with stdout_on_stderr():
        result = milp(
            c=scaled(table),
            integrality=1,
            bounds=Bounds(0.0, 1.0),
            constraints=constraints,
            options={"node_limit": NODES, "mip_rel_gap": 0.0},
        )
    if result.x is None:
        return None, False
    return chosen(result.x, choices), result.status == 0


def scaled(table: CostTable) -> list[float]:
    """All costs in one list, above the cheapest of each block, whose largest sum is `SCALE`."""
    room = sum(max(row) - min(row) for row in table.units)
    return [SCALE * ((c - min(row)) / max(room, 1)) for row in table.units for c in row]
