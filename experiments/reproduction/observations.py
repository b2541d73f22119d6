"""Choices of populations, generation by generation: the paper's Figures 2, 3 and 5 as numbers.

Pure functions of the counts in a row, `[generation][block][choice]`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from raynas.evolution.freezing import Percentages, initial_freeze, majority
from raynas.files import Record

Counts = Sequence[Sequence[Sequence[int]]]
"""`[generation][block][choice]`: how many of a population take a choice."""

BLOCK_RATIO = 0.5


def percentages_of(counts: Sequence[Sequence[int]]) -> Percentages:
    """The choice percentages of one generation, as exact fractions of 1."""
    return tuple(tuple(Fraction(n, sum(block)) for n in block) for block in counts)


def majority_shares(counts: Counts) -> list[list[float] | None]:
    """The share of each block's majority choice: `[generation][block]` (Figure 2).

    `None` for a generation without a population.
    """
    return [[max(block) / sum(block) for block in each] if each else None for each in counts]


@final
@dataclass(frozen=True)
class Distances:
    """One search as a point in both halves of Figure 3.

    Args:
        generation: the first, from 1 on, at which a majority appears.
        blocks: how many shallow blocks have it.
        before: mean distance of what populations choose before it, to the best architecture of the
            first generation and to that of the last.
        after: those of the majority choices.
    """

    generation: int
    blocks: int
    before: tuple[float, float]
    after: tuple[float, float]


def distances(row: Record, threshold: float) -> Distances | None:
    """Distances of choices of shallow blocks from the first and the last best architecture.

    The shallow blocks are those that CF-ES would freeze when it first could, and the majority
    choices are those of that generation. Before it, every member of a population counts.

    Args:
        row: of a search that freezes nothing.
        threshold: of choice percentages.

    Returns:
        `None` if no majority appears.
    """
    counts: Counts = row["counts"]
    for generation, own in enumerate(counts):
        # As in the strategies, the first generation is random and decides nothing.
        blocks = initial_freeze(percentages_of(own), threshold, BLOCK_RATIO) if own else 0
        if generation == 0 or blocks == 0:
            continue
        chosen = majority(percentages_of(own))[:blocks]
        earlier = [each[:blocks] for each in counts[:generation]]
        first, last = row["first_best"], row["last_best"]
        return Distances(
            generation + 1,
            blocks,
            (mean_distance(earlier, first), mean_distance(earlier, last)),
            (choice_distance(chosen, first), choice_distance(chosen, last)),
        )
    return None


def choice_distance(chosen: Sequence[int], other: Sequence[int]) -> float:
    """The share of blocks in which choices differ from the first ones of an architecture."""
    return statistics.fmean(a != b for a, b in zip(chosen, other, strict=False))


def mean_distance(counts: Counts, other: Sequence[int]) -> float:
    """The mean of `choice_distance` over generations whose first blocks are counted."""
    return statistics.fmean(
        1.0 - block[choice] / sum(block)
        for each in counts
        for block, choice in zip(each, other, strict=False)
    )


@final
@dataclass(frozen=True)
class Following:
    """The block behind the first freeze of a search, with and without the freeze (Figure 5).

    Args:
        generation: the first behind the frozen prefix, counted from 1.
        blocks: how many blocks were frozen.
        shares: of the majority choice of the next block, from the generation before the freeze on.
        free: the same of a search with the same seed that freezes nothing.
    """

    generation: int
    blocks: int
    shares: list[float | None]
    free: list[float | None]


def following(row: Record, free: Record, generations: int = 6) -> Following | None:
    """The growth of the next block's majority behind a freeze.

    Args:
        row: of a search that freezes once.
        free: of one with the same seed that does not; up to the freeze they are the same.
        generations: how many are told, from the one before the freeze on.

    Returns:
        `None` if nothing was frozen, or all.
    """
    frozen = [each["frozen"] for each in row["generations"]]
    start = next((number for number, blocks in enumerate(frozen) if blocks), None)
    if start is None or frozen[start] >= len(row["choices"]):
        return None
    blocks = frozen[start]

    def shares(counts: Counts) -> list[float | None]:
        every = majority_shares(counts)[start - 1 : start - 1 + generations]
        told = [None if own is None else own[blocks] for own in every]
        return [*told, *[None] * (generations - len(told))]

    return Following(start + 1, blocks, shares(row["counts"]), shares(free["counts"]))
