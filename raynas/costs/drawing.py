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

FINE = 2**15
"""The number of them where few of the rounded draws are legal: then more are."""


@final
@dataclass(frozen=True)
class Steps:
    """Costs in steps, rounded down, with a window that holds every legal suffix.

    Args:
        costs: `[block][choice]`, at least 0.
        least: the least sum of the window.
        limit: its largest sum, at most the number of steps of the whole window.
    """

    costs: tuple[tuple[int, ...], ...]
    least: int
    limit: int


@final
@dataclass(frozen=True)
class Sampler:
    """Suffixes within a window in steps, each equally likely.

    Args:
        steps: the costs and the window.
        ways: see `completions`.
    """

    steps: Steps
    ways: Sequence[np.ndarray]

    @property
    def size(self) -> float:
        """The number of suffixes, about; those of spaces beyond 1e200 are scaled down."""
        return float(self.ways[0][self.steps.limit]) if self.steps.limit >= 0 else 0.0

    def one_by_one(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Draw, without end; nothing where there are none.

        Args:
            rng: gives one number per block of each suffix.
        """
        steps, ways = self.steps, self.ways
        while self.size > 0:
            left, suffix = steps.limit, []
            for block, u in enumerate(rng.random(len(steps.costs))):
                # Each choice in proportion to the suffixes it leaves: together, uniform.
                behind, costs = ways[block + 1], steps.costs[block]
                weights = [behind[left - step] if step <= left else 0.0 for step in costs]
                total = list(accumulate(weights))
                choice = bisect_right(total, u * total[-1], hi=len(weights) - 1)
                suffix.append(choice)
                left -= costs[choice]
            yield tuple(suffix)

    def many(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw so many at once, `[blocks, count]`; there must be some.

        Args:
            rng: gives `count` numbers for each block, one block after another.
            count: of suffixes.
        """
        left = np.full(count, self.steps.limit)
        drawn = np.empty((len(self.steps.costs), count), dtype=np.int64)
        for block, costs in enumerate(self.steps.costs):
            behind = self.ways[block + 1]
            total = np.zeros((len(costs), count))
            for choice, step in enumerate(costs):
                rest = left - step
                total[choice] = np.where(rest >= 0, behind[np.maximum(rest, 0)], 0.0)
            np.cumsum(total, axis=0, out=total)
            drawn[block] = (total[:-1] <= rng.random(count) * total[-1]).sum(axis=0)
            left -= np.asarray(costs)[drawn[block]]
        return drawn


def sampler(windows: Sequence[Window], resolution: int = RESOLUTION) -> Sampler:
    """A sampler of suffixes that are within the windows or near.

    Costs are cut into steps and rounded down. The suffixes within a window so rounded include all
    legal ones, can be counted by dynamic programming, and are drawn with equal probability; so the
    legal ones among them are, too. Drawing from the whole space and rejecting would find next to
    nothing under a tight limit, and choosing block after block among the feasible choices would
    favour those that spend the room on the first blocks.

    Of several windows and their weighted sum, the one that holds the fewest suffixes is drawn from.

    Args:
        windows: behind the same prefix, at least one.
        resolution: the number of steps.
    """
    # Rounding down never excludes a legal suffix, so the caller's check makes the draw exact, and a
    # table of 4,096 steps stands for sums that may be any of billions. See `completions`.
    active = [window for window in windows if window.bounds > 0]
    sums = [combined(active)] if len(active) > 1 else []
    cuts = [rounded(window, resolution) for window in (*(active or windows[:1]), *sums)]
    samplers = [Sampler(steps, completions(steps)) for steps in cuts]
    return min(samplers, key=lambda each: each.size)


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


def rounded(window: Window, resolution: int = RESOLUTION) -> Steps:
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
    limit, unit = min(resolution, high), max(high, 1)
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
    limit = max(steps.limit, 0)
    ways = [(np.arange(limit + 1) <= limit - steps.least).astype(np.float64)]
    for costs in reversed(steps.costs):
        total = np.zeros(limit + 1)
        for step in costs:
            if step <= limit:
                total[step:] += ways[-1][: limit + 1 - step]
        ways.append(np.ldexp(total, -600) if total[-1] > 1e200 else total)
    return ways[::-1]
