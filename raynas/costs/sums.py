"""Exact counting of architectures within several windows, by meeting in the middle.

The blocks are cut in two halves; the distinct costs of each half are listed, with how often each
occurs. Lists that would take more than about a second are given up: the count is then unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from raynas.costs.windows import Window

INT64 = 2**62
"""Sums and counts below it are kept in 64 bits, others as Python integers."""

LARGEST_HALF = {True: 2**22, False: 2**17}
"""The most sums in a half: in 64 bits, and as Python integers."""

LARGEST_MEETING = {True: 2**25, False: 2**20}
"""The most pairs of sums that are tried on several windows."""

CHUNK = 2**20
"""The number of pairs, roughly, that are tried at once."""

Sums = tuple[np.ndarray, np.ndarray]
"""Sorted distinct sums, and how many ways give each."""


def count_within(windows: Sequence[Window], choices: Sequence[int]) -> int | None:
    """The exact number of suffixes that are within every window; `None` if it takes too long.

    Args:
        windows: behind the same prefix.
        choices: of each block behind the prefix.
    """
    if any(window.closed for window in windows):
        return 0
    active = [window for window in windows if window.bounds > 0]
    if not active:
        return prod(choices)
    halves = meet(*coded(active), most=active[0].high if len(active) == 1 else None)
    if halves is None:
        return None
    return count_one(active[0], *halves) if len(active) == 1 else count_all(active, *halves)


def coded(windows: Sequence[Window]) -> tuple[list[list[int]], int]:
    """Costs of all windows in one number per choice, whose sums keep those of each window apart.

    Returns:
        `[block][choice]` codes, and the largest sum.
    """
    codes = [[0] * len(row) for row in windows[0].costs]
    radix = 1
    for window in windows:
        for row, costs in zip(codes, window.costs, strict=True):
            row[:] = [code + radix * cost for code, cost in zip(row, costs, strict=True)]
        radix *= window.room + 1
    return codes, radix - 1


def decoded(windows: Sequence[Window], sums: np.ndarray) -> list[np.ndarray]:
    """The sums of each window from the coded ones."""
    found = []
    for window in windows:
        part = sums % (window.room + 1)
        sums = sums // (window.room + 1)
        found.append(part.astype(np.int64) if window.room < INT64 else part)
    return found


def meet(
    blocks: Sequence[Sequence[int]], largest: int, most: int | None
) -> tuple[Sums, Sums] | None:
    """The distinct sums of the first blocks and of the others; `None` if either are too many.

    Args:
        blocks: `[block][choice]` costs, at least 0.
        largest: the largest sum of all blocks.
        most: sums above it may be left out.
    """
    ways = prod(len(costs) for costs in blocks)
    small = largest < INT64 and ways < INT64
    sums = np.zeros(1, dtype=np.int64 if largest < INT64 else object)
    left = right = (sums, np.ones(1, dtype=np.int64 if ways < INT64 else object))
    first, last = 0, len(blocks) - 1
    while first <= last:
        sizes = len(left[0]) * len(blocks[first]), len(right[0]) * len(blocks[last])
        if min(sizes) > LARGEST_HALF[small]:
            return None
        if sizes[0] <= sizes[1]:
            left = extended(left, blocks[first], most)
            first += 1
        else:
            right = extended(right, blocks[last], most)
            last -= 1
    return left, right


def extended(sums: Sums, costs: Sequence[int], most: int | None = None) -> Sums:
    """The distinct sums after one more block; those above `most` are left out."""
    row = np.asarray(costs, dtype=sums[0].dtype)
    # One sorted run per choice, which a stable sort only has to merge.
    every = (row[:, None] + sums[0][None, :]).ravel()
    counts = np.tile(sums[1], len(costs))
    if most is not None:
        kept = np.flatnonzero(every <= most)
        every, counts = every[kept], counts[kept]
    order = np.argsort(every, kind="stable")
    every, counts = every[order], counts[order]
    if len(every) == 0:
        return every, counts
    starts = np.flatnonzero(np.concatenate(([True], every[1:] != every[:-1])))
    return every[starts], np.add.reduceat(counts, starts)


def count_one(window: Window, left: Sums, right: Sums) -> int:
    """The number of pairs of a left and a right suffix that are within one window."""
    low, high = max(window.low, 0), min(window.high, window.room)
    cumulative = np.concatenate((np.zeros(1, right[1].dtype), np.cumsum(right[1])))
    upper = np.searchsorted(right[0], high - left[0], side="right")
    lower = np.searchsorted(right[0], low - left[0], side="left")
    return int((left[1] * (cumulative[upper] - cumulative[lower])).sum())


def count_all(windows: Sequence[Window], left: Sums, right: Sums) -> int | None:
    """The number of pairs of suffixes that are within all windows; `None` if too many to list.

    The window that the fewest pairs are within selects those that are tried on the others.
    """
    lefts, rights = decoded(windows, left[0]), decoded(windows, right[0])
    small = all(part.dtype != object for part in (*lefts, *rights, left[1], right[1]))
    matched = [match(*parts) for parts in zip(windows, lefts, rights, strict=True)]
    order, lower, upper = min(matched, key=lambda m: int((m[2] - m[1]).sum()))
    ends = np.cumsum(upper - lower)
    if ends[-1] > LARGEST_MEETING[small]:
        return None
    total, start = 0, 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        sizes = (upper - lower)[start:stop]
        rows = np.repeat(np.arange(start, stop), sizes)
        firsts = np.cumsum(sizes) - sizes
        columns = order[np.arange(len(rows)) + np.repeat(lower[start:stop] - firsts, sizes)]
        inside = np.ones(len(rows), dtype=bool)
        for window, a, b in zip(windows, lefts, rights, strict=True):
            sums = a[rows] + b[columns]
            inside &= (sums >= max(window.low, 0)).astype(bool)
            inside &= (sums <= min(window.high, window.room)).astype(bool)
        total += int((left[1][rows[inside]] * right[1][columns[inside]]).sum())
        start = stop
    return total


def match(
    window: Window, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The right sums within a window, for each left one.

    Returns:
        The order that sorts the right sums, and for each left sum the first and the end of those
        in that order that it is within the window with.
    """
    low, high = max(window.low, 0), min(window.high, window.room)
    order = np.argsort(right, kind="stable")
    ranked = right[order]
    lower = np.searchsorted(ranked, low - left, side="left")
    upper = np.searchsorted(ranked, high - left, side="right")
    return order, lower, upper
