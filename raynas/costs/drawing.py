"""Drawing uniformly from the legal architectures, however few of all they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from raynas.costs import Budget
from raynas.space import Architecture

RESOLUTION = 4096
"""Into how many steps the budget that a prefix leaves is cut."""


def draw(budget: Budget, prefix: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
    """Draw, without end, architectures that start with the prefix and are within the limit or near.

    Costs are cut into steps and rounded down. The architectures within the limit so rounded include
    all legal ones, can be counted by dynamic programming, and are drawn with equal probability; so
    the legal ones among them are, too. Drawing from the whole space and rejecting would find next
    to nothing under a tight limit, and choosing block after block among the feasible choices would
    favour those that spend the budget on the first blocks.

    Nothing is drawn if no architecture that starts with the prefix is legal.
    """
    if not budget.feasible(prefix):
        return
    steps, limit = rounded_costs(budget, prefix)
    ways = completions(steps, limit)
    while True:
        left, suffix = limit, []
        for block, u in enumerate(rng.random(len(steps))):
            behind = ways[block + 1]
            weights = [behind[left - step] if step <= left else 0.0 for step in steps[block]]
            total = list(accumulate(weights))
            choice = bisect_right(total, u * total[-1], hi=len(weights) - 1)
            suffix.append(choice)
            left -= steps[block][choice]
        yield prefix + tuple(suffix)


def rounded_costs(budget: Budget, prefix: Architecture) -> tuple[list[list[int]], int]:
    """What each choice behind the prefix costs more than its block's cheapest, in steps.

    Returns:
        `[block][choice]` steps, rounded down, and how many steps an architecture may take. A choice
        that alone exceeds the limit takes one more than that. Exact if the limit is so low that a
        step is one unit of cost.
    """
    blocks = budget.table.blocks[len(prefix) :]
    extra = [[cost - min(costs) for cost in costs] for costs in blocks]
    room = sum(map(max, extra))
    if budget.at_most is not None:
        room = min(room, budget.at_most - budget.table.of(budget.table.cheapest(prefix)))
    limit = min(RESOLUTION, room)
    unit = max(room, 1)
    return [
        [cost * limit // unit if cost <= room else limit + 1 for cost in costs] for costs in extra
    ], limit


def completions(steps: list[list[int]], limit: int) -> list[np.ndarray]:
    """`[block][left]`: in how many ways blocks from `block` on take at most `left` steps."""
    ways = [np.ones(limit + 1)]
    for costs in reversed(steps):
        total = np.zeros(limit + 1)
        for step in costs:
            if step <= limit:
                total[step:] += ways[-1][: limit + 1 - step]
        ways.append(total)
    return ways[::-1]
