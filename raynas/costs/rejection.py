"""Drawing uniformly from the suffixes within several windows, many at once.

One window alone can be drawn from (see `drawing`). Under several, its draws are rejected until one
is within all: with narrow windows that is one of thousands or millions, too few for one draw after
another, but not for arrays of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from raynas.costs.drawing import Sampler
from raynas.costs.sums import INT64
from raynas.costs.windows import Window
from raynas.space import Architecture

FIRST, LARGEST = 2**10, 2**15
"""The draws of the first array, and of the largest; each is twice the one before."""

SAMPLE = 2**13
"""The draws that tell whether some are legal more than rarely."""


def drawn_within(
    windows: Sequence[Window], source: Sampler, rng: np.random.Generator, most: int
) -> Iterator[Architecture]:
    """Draw suffixes within all windows, each equally likely.

    Ends when `most` draws in a row are outside, which does not say that there are none within.

    Args:
        windows: behind the same prefix.
        source: draws every suffix within them with equal probability, and others.
        rng: as many numbers as `source` takes for whole arrays.
        most: draws in a row.
    """
    size, misses = FIRST, 0
    while misses < most and source.size > 0:
        drawn = source.many(rng, size)
        legal = np.flatnonzero(within(windows, drawn))
        misses = 0 if len(legal) else misses + size
        for column in drawn[:, legal].T.tolist():
            yield tuple(column)
        size = size if len(legal) else min(2 * size, LARGEST)


def within(windows: Sequence[Window], suffixes: np.ndarray) -> np.ndarray:
    """Whether each of the suffixes, `[blocks, count]`, is within every window, exactly."""
    inside = np.ones(suffixes.shape[1], dtype=bool)
    for window in windows:
        # Sums beyond 64 bits are added as Python's integers.
        dtype = np.int64 if window.room < INT64 else object
        sums = np.zeros(suffixes.shape[1], dtype=dtype)
        for costs, choices in zip(window.costs, suffixes, strict=True):
            sums += np.asarray(costs, dtype=dtype)[choices]
        low, high = max(window.low, 0), min(window.high, window.room)
        inside &= ((sums >= low) & (sums <= high)).astype(bool)
    return inside


def hits(windows: Sequence[Window], source: Sampler, draws: int = SAMPLE) -> bool:
    """Whether any of at least so many draws, always the same ones, is within all windows."""
    rng = np.random.default_rng(0)
    return next(drawn_within(windows, source, rng, draws), None) is not None


def share_within(windows: Sequence[Window], source: Sampler) -> float:
    """The share of some draws, always the same ones, that are within all windows."""
    if source.size == 0:
        return 0.0
    return float(within(windows, source.many(np.random.default_rng(0), SAMPLE)).mean())
