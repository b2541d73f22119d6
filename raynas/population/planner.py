"""Cutting a generation into work units: (part of the trie) × (shard).

Shards alone keep all sharing, and are enough while there are many of them for each worker. Cutting
the trie too gives more and smaller units, at the price of computing the prefixes that parts share
once in each of them. The plan is the grid with the smallest predicted makespan, where every node
counts the same: measured times of nodes gave the same plans, or plans no faster. It changes nothing
but time.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import numpy as np

from raynas.space import Architecture

UNITS_PER_WORKER = 8
"""Grids are not made finer than this: more units would hardly balance better."""

HALVINGS = 20
"""Steps of the search for the smallest largest part."""


@final
@dataclass(frozen=True)
class Plan:
    """A grid of work units.

    Args:
        parts: of each part of the trie, the indices of its candidates.
        units: `(part, shard)` of each unit, in the order in which they are to be given out: the
            largest first.
        makespan: when the last unit is predicted to end, in nodes times images.
    """

    parts: tuple[np.ndarray, ...]
    units: tuple[tuple[int, int], ...]
    makespan: float

    def arrange(self, results: Sequence[Any]) -> list[list[Any]]:
        """Results of the units, in their order, as `[part][shard]`."""
        shards = len(self.units) // len(self.parts)
        grid: list[list[Any]] = [[None] * shards for _ in self.parts]
        for (part, shard), result in zip(self.units, results, strict=True):
            grid[part][shard] = result
        return grid


def plan(
    architectures: Sequence[Architecture],
    rows: Sequence[int],
    workers: int,
    *,
    depth: int = 0,
    sharing: bool = True,
) -> Plan:
    """The grid with the smallest predicted makespan; of equal ones that with the fewest parts.

    Args:
        architectures: the candidates, at least one.
        rows: the number of images of each shard.
        workers: how many evaluate side by side; 0 and 1 mean the same.
        depth: how many blocks the shards have been through.
        sharing: whether candidates share prefixes.
    """
    chains = Chains(architectures, depth=depth, sharing=sharing)
    best: Plan | None = None
    tried = set()
    for wanted in part_counts(len(architectures), len(rows), max(workers, 1)):
        cuts = chains.cut(wanted)
        if len(cuts) in tried:
            continue
        tried.add(len(cuts))
        sizes = [chains.cost(*span) for span in cuts]
        units = sorted(
            ((size * count, part, shard) for part, size in enumerate(sizes)
             for shard, count in enumerate(rows)),
            key=lambda unit: -unit[0],
        )  # fmt: skip
        makespan = predict_makespan([unit[0] for unit in units], max(workers, 1))
        if best is None or makespan < best.makespan:
            parts = tuple(np.asarray(chains.order[start:stop]) for start, stop in cuts)
            best = Plan(parts, tuple((part, shard) for _, part, shard in units), makespan)
    assert best is not None
    return best


def part_counts(candidates: int, shards: int, workers: int) -> list[int]:
    """Numbers of parts worth a try: 1, 2, 3, 4, 6, 8, 12, 16, …, as far as workers may idle."""
    if workers == 1:
        return [1]
    most = min(candidates, -(-UNITS_PER_WORKER * workers // max(shards, 1)))
    counts = {1, *(2**k for k in range(20)), *(3 * 2**k for k in range(20))}
    return sorted(count for count in counts if count <= most)


def predict_makespan(units: Sequence[float], workers: int) -> float:
    """The end of the last unit, if each goes, in their order, to the first free worker."""
    ends = [0.0] * min(workers, max(len(units), 1))
    for seconds in units:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


@final
class Chains:
    """The candidates in lexicographic order, and the nodes of runs of them.

    The trie of a run of neighbours holds the whole chain of its first candidate, and of each other
    what it does not share with the one before it.

    Args:
        architectures, depth, sharing: as for `plan`.
    """

    def __init__(self, architectures: Sequence[Architecture], *, depth: int, sharing: bool) -> None:
        self.order = sorted(range(len(architectures)), key=lambda index: architectures[index])
        own, shared = [], []
        previous: Architecture = ()
        for index in self.order:
            architecture = architectures[index]
            # Stem, blocks and head behind the shards.
            nodes = len(architecture) - depth + (2 if depth == 0 else 1)
            common = shared_nodes(previous, architecture, depth) if sharing and previous else 0
            shared.append(common)
            own.append(nodes - common)
            previous = architecture
        self._shared = shared
        self._before = list(accumulate(own, initial=0))

    def cost(self, start: int, stop: int) -> int:
        """The nodes of the trie of the candidates `start … stop - 1` of the order."""
        return self._shared[start] + self._before[stop] - self._before[start]

    def cut(self, parts: int) -> list[tuple[int, int]]:
        """At most so many runs, not empty, such that the largest cost is nearly the smallest.

        Since a prefix counts in every part that has it, cuts fall where little is shared.
        """
        # Filling run after run tells if a limit suffices, and then any larger one does, too. So the
        # smallest is found by bisection: dynamic programming would try all pairs of ends.
        low, high = 0.0, self.cost(0, len(self.order))
        cuts = [(0, len(self.order))]
        for _ in range(HALVINGS if parts > 1 else 0):
            middle = (low + high) / 2
            found = self._fill(middle, parts)
            if found is None:
                low = middle
            else:
                high, cuts = max(self.cost(*span) for span in found), found
        return cuts

    def _fill(self, limit: float, parts: int) -> list[tuple[int, int]] | None:
        """Runs that cost at most `limit` each, each as long as can be; `None` if too many."""
        cuts: list[tuple[int, int]] = []
        start = 0
        while start < len(self.order):
            # `cost(start, stop) <= limit`, solved for `before[stop]`, which rises with `stop`.
            most = limit - self._shared[start] + self._before[start]
            stop = bisect_right(self._before, most) - 1
            if stop <= start or len(cuts) == parts:
                return None
            cuts.append((start, stop))
            start = stop
        return cuts


def shared_nodes(one: Architecture, other: Architecture, depth: int) -> int:
    """The number of nodes from a depth on that two candidates share."""
    above = int(depth == 0)
    for at, (left, right) in enumerate(zip(one[depth:], other[depth:], strict=False)):
        if left != right:
            return above + at
    return above + len(one) - depth + 1
