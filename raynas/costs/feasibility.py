"""Whether choices exist that are within several windows, and the choices nearest to them.

Under one bound the cheapest or dearest choices decide. Under several this is a knapsack with more
than one constraint: a short descent, or a few thousand draws, find legal choices in most cases; one
window, windows narrower than the tolerance of a solver, and small spaces are counted; the rest is
an integer program (`scipy.optimize.milp`). Its solutions are verified on integers; that it has none
is believed only beyond its tolerance. What neither tells is drawn for again, more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from raynas.costs.drawing import FINE, sampler
from raynas.costs.native_output import stdout_on_stderr
from raynas.costs.rejection import hits
from raynas.costs.sums import count_within
from raynas.costs.windows import Window
from raynas.space import Architecture

Shares = tuple[float | None, float | None]
"""A lower and an upper bound as shares of the room of a window; `None`: none on this side."""

PERSISTENT = 2**19
"""The draws after which it stays unknown whether any choices are legal."""

SMALL = 4096
"""Suffixes of which there are at most so many are counted at once."""

PASSES = 8
"""The number of times that the descent looks at each block."""

MARGIN = 5e-6
"""The distance inside a window at which a solution is sought, as a share of its room: five times
the tolerance of the solver, so that its solutions are legal in exact arithmetic, too."""

NODES = 500
"""The most branches of the integer program: a number, not seconds, so that the answer is the
same on every machine."""


def satisfiable(windows: Sequence[Window], choices: Sequence[int]) -> bool | None:
    """Whether one choice per block is within every window.

    `None` if that is unknown: bounds are too narrow for the solver, in a space too large to count.

    Args:
        windows: behind the same prefix.
        choices: of each block behind the prefix.
    """
    if any(window.closed for window in windows):
        return False
    active = [window for window in windows if window.bounds > 0]
    if sum(window.bounds for window in active) <= 1 or descend(active, choices):
        return True
    if prod(choices) <= SMALL:
        return count_within(active, choices) != 0
    source = sampler(active)
    if source.size == 0 or hits(active, source):
        return source.size > 0
    narrow = any((w.high - w.low + 1) < 4 * MARGIN * w.room for w in active)
    if len(active) == 1 or narrow:
        legal = count_within(active, choices)
        if legal is not None:
            return legal > 0
    suffix, least = solve(active, choices, [narrowed(window) for window in active])
    if suffix is not None and all(window.holds(suffix) for window in active):
        return True
    if least > 2 * MARGIN:
        return False
    legal = count_within(active, choices)
    if legal is not None:
        return legal > 0
    return True if hits(active, sampler(active, FINE), PERSISTENT) else None


def descend(windows: Sequence[Window], choices: Sequence[int]) -> bool:
    """Whether changing one block after another, each for the better, leads into every window.

    `False` says nothing: the descent may have ended elsewhere.
    """
    suffix = [0] * len(choices)
    totals = [sum(row[0] for row in window.costs) for window in windows]
    least = violation(windows, totals)
    for _ in range(PASSES):
        before = least
        for block, count in enumerate(choices):
            for choice in range(count):
                moved = [
                    total + window.costs[block][choice] - window.costs[block][suffix[block]]
                    for window, total in zip(windows, totals, strict=True)
                ]
                now = violation(windows, moved)
                if now < least:
                    suffix[block], totals, least = choice, moved, now
        if least == 0 or least == before:
            break
    return all(window.holds(tuple(suffix)) for window in windows)


def violation(windows: Sequence[Window], totals: Sequence[int]) -> float:
    """The distances of sums outside their windows, as shares of the rooms, added up."""
    return sum(
        max(window.low - total, total - window.high, 0) / max(window.room, 1)
        for window, total in zip(windows, totals, strict=True)
    )


def nearest(windows: Sequence[Window], choices: Sequence[int]) -> Architecture:
    """The choices whose worst violation, as a share of the room of its window, is the least."""
    movable = [window for window in windows if window.room > 0]
    suffix, _ = solve(movable, choices, [shares(window) for window in movable])
    return (0,) * len(choices) if suffix is None else suffix


def solve(
    windows: Sequence[Window], choices: Sequence[int], bounds: Sequence[Shares]
) -> tuple[Architecture | None, float]:
    """Minimise the worst violation of bounds by integer programming.

    Args:
        windows: with room.
        choices: of each block.
        bounds: on the sums in each window, as shares of its room; `None`: none on this side.

    Returns:
        The best choices found, which need not be legal, and a lower bound on the violation of any,
        as a share of the room. Of narrowed windows: above twice `MARGIN`, none is legal.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    size = sum(choices)
    one_each = np.pad(memberships(choices), ((0, 0), (0, 1)))
    constraints: list[Any] = [LinearConstraint(one_each, 1.0, 1.0)]
    for window, (low, high) in zip(windows, bounds, strict=True):
        # Division of Python's integers is right for any of them, also beyond the range of floats.
        row = [cost / window.room for costs in window.costs for cost in costs]
        if low is not None:
            constraints.append(LinearConstraint([[*row, 1.0]], low, np.inf))
        if high is not None:
            constraints.append(LinearConstraint([[*row, -1.0]], -np.inf, high))
    # HiGHS prints a line of its own where it repairs a solution, whatever it is told.
    with stdout_on_stderr():
        result = milp(
            c=[0.0] * size + [1.0],
            integrality=[1] * size + [0],
            bounds=Bounds(0.0, [1.0] * size + [np.inf]),
            constraints=constraints,
            options={"node_limit": NODES},
        )
    least = result.mip_dual_bound
    least = float(least) if least is not None and np.isfinite(least) else 0.0
    if result.x is None:
        return None, least
    return chosen(result.x[:size], choices), least


def memberships(choices: Sequence[int]) -> np.ndarray:
    """The block of every choice: float `[blocks, all choices]`, 1 where the choice is of it."""
    found = np.zeros((len(choices), sum(choices)))
    found[np.repeat(np.arange(len(choices)), choices), np.arange(sum(choices))] = 1.0
    return found


def chosen(weights: Any, choices: Sequence[int]) -> Architecture:
    """The choice of each block whose number is the largest, of one number for every choice."""
    blocks = np.split(np.asarray(weights), np.cumsum(choices)[:-1])
    return tuple(int(np.argmax(block)) for block in blocks)


def shares(window: Window) -> Shares:
    """The bounds of a window as shares of its room; `None` where every sum is legal."""
    low = window.low / window.room if window.low > 0 else None
    return low, window.high / window.room if window.high < window.room else None


def narrowed(window: Window) -> Shares:
    """The bounds of a window as shares of its room, moved inside by `MARGIN`; `None`: inactive.

    Sums are integers, so a bound may first move out by half a unit. A window that is narrower than
    the margins shrinks to its middle.
    """
    low = high = None
    if window.low > 0:
        low = float(Fraction(2 * window.low - 1, 2 * window.room)) + MARGIN
    if window.high < window.room:
        high = float(Fraction(2 * window.high + 1, 2 * window.room)) - MARGIN
    if low is not None and high is not None and low > high:
        low = high = (low + high) / 2
    return low, high
