"""Drawing uniformly from the architectures within a window, however few of all they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import numpy as np

from raynas.costs.windows import Window
from raynas.space import Architecture

RESOLUTION = 4096
"""The number of steps that the room of a window is cut into."""


@final
@dataclass(frozen=True)
class Steps:
    """Costs in steps, rounded down, with a window that holds every legal suffix.

    Args:
        costs: `[block][choice]`, at least 0.
        least: the least sum of the window.
        limit: its largest sum, at most `RESOLUTION`.
    """

    costs: tuple[tuple[int, ...], ...]
    least: int
    limit: int


def draw_suffixes(windows: Sequence[Window], rng: np.random.Generator) -> Iterator[Architecture]:
    """Draw, without end, suffixes that are within the windows or near.

    Costs are cut into steps and rounded down. The suffixes within a window so rounded include all
    legal ones, can be counted by dynamic programming, and are drawn with equal probability; so the
    legal ones among them are, too. Drawing from the whole space and rejecting would find next to
    nothing under a tight limit, and choosing block after block among the feasible choices would
    favour those that spend the room on the first blocks.

    Of several windows and their weighted sum, the one that holds the fewest suffixes is drawn from.

    Args:
        windows: behind the same prefix, at least one; nothing is drawn where one holds nothing.
        rng: gives one number per block of each suffix.
    """
    # Rounding down never excludes a legal suffix, so the caller's check makes the draw exact, and a
    # table of 4,096 steps stands for sums that may be any of billions. See `completions`.
    active = [window for window in windows if window.bounds > 0]
    sums = [combined(active)] if len(active) > 1 else []
    cuts = [rounded(window) for window in (*(active or windows[:1]), *sums)]
    tables = [completions(steps) for steps in cuts]
    fewest = min(range(len(cuts)), key=lambda i: float(tables[i][0][cuts[i].limit]))
    steps, ways = cuts[fewest], tables[fewest]
    if ways[0][steps.limit] == 0:
        return
    while True:
        left, suffix = steps.limit, []
        for block, u in enumerate(rng.random(len(steps.costs))):
            # Each choice in proportion to the suffixes it leaves: together, uniform over suffixes.
            behind, costs = ways[block + 1], steps.costs[block]
            weights = [behind[left - step] if step <= left else 0.0 for step in costs]
            total = list(accumulate(weights))
            choice = bisect_right(total, u * total[-1], hi=len(weights) - 1)
            suffix.append(choice)
            left -= costs[choice]
        yield tuple(suffix)


def combined(windows: Sequence[Window]) -> Window:
    """A window on a sum of the costs, each weighted by about one over its room.

    Every suffix within all windows is within it, and far fewer others than within one of them,
    where windows contradict each other. Of a window with two bounds the tighter one counts.
    """
    largest = max(window.room for window in windows)
    costs = [[0] * len(row) for row in windows[0].costs]
    high = 0
    for window in windows:
        weight, bound = largest // window.room, window.high
        if window.room - window.low < window.high:
            weight, bound = -weight, window.low
        high += weight * bound
        for row, more in zip(costs, window.costs, strict=True):
            row[:] = [cost + weight * extra for cost, extra in zip(row, more, strict=True)]
    extras = tuple(tuple(cost - min(row) for cost in row) for row in costs)
    return Window(extras, sum(map(max, extras)), 0, high - sum(map(min, costs)))


def rounded(window: Window) -> Steps:
    """The window in steps; exact if its upper bound is so low that a step is one unit of cost.

    Where the window is nearer to the dearest suffix than to the cheapest, costs count from the
    dearest choices down, so that the steps are fine there. A choice that alone exceeds the window
    takes one step more than the limit.
    """
    costs, room = window.costs, window.room
    low, high = max(window.low, 0), min(window.high, room)
    if room - low < high:
        costs = tuple(tuple(max(row) - cost for cost in row) for row in costs)
        low, high = room - high, room - low
    limit, unit = min(RESOLUTION, high), max(high, 1)
    steps = tuple(
        tuple(cost * limit // unit if cost <= high else limit + 1 for cost in row) for row in costs
    )
    # Rounding takes less than one step from each block, so legal sums may fall that far below.
    slack = 0 if limit == high else len(costs) - 1
    return Steps(steps, max(0, low * limit // unit - slack), limit)


def completions(steps: Steps) -> list[np.ndarray]:
    """`[block][left]`: in how many ways blocks from `block` on take at most `left` steps.

    And at least so many that no more than `limit - least` are left in the end. Rows of spaces
    beyond 1e200 are scaled by a power of two, which changes no share.
    """
    limit = steps.limit
    ways = [(np.arange(limit + 1) <= limit - steps.least).astype(np.float64)]
    for costs in reversed(steps.costs):
        total = np.zeros(limit + 1)
        for step in costs:
            if step <= limit:
                total[step:] += ways[-1][: limit + 1 - step]
        ways.append(np.ldexp(total, -600) if total[-1] > 1e200 else total)
    return ways[::-1]
