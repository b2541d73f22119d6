"""Deciding which blocks to freeze: choice percentages, two tests, and reasons to refuse a freeze.

PCF-ES, sections 3.1 and 3.4. The paper's text leaves open over whom the percentages are counted;
its example (40 of 50 subnets) counts the population. This decides; what a frozen prefix saves is
the evaluation's business. Percentages are exact fractions of 1: a freeze
must not hang on how a mean was rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from raynas.costs.tables import exact
from raynas.evolution.strategy import Problem
from raynas.space import Architecture, SearchSpace

NO_SUFFIX = "no legal suffix"
NO_PARENT = "no parent stays legal"

Percentages = tuple[tuple[Fraction, ...], ...]
"""`[block][choice]`: the share of a census that selects the choice; each row sums to 1."""


def choice_percentages(census: Sequence[Architecture], space: SearchSpace) -> Percentages:
    """The choice percentages of a census of architectures (PCF-ES, section 3.1).

    Args:
        census: at least one architecture.
        space: the choices of each block.
    """
    selected = [Counter(choices) for choices in zip(*census, strict=True)]
    return tuple(
        tuple(Fraction(counts[choice], len(census)) for choice in range(choices))
        for counts, choices in zip(selected, space.choices, strict=True)
    )


def majority(percentages: Percentages) -> Architecture:
    """The majority choice of each block; ties go to the lowest index."""
    return tuple(row.index(max(row)) for row in percentages)


def initial_freeze(percentages: Percentages, threshold: float, block_ratio: float) -> int:
    """The number of blocks that the first freeze takes (Algorithm 1, lines 5-13).

    Args:
        percentages: of every block.
        threshold: the choice percentage threshold H, in (0, 1).
        block_ratio: the block ratio threshold, in [0, 1).

    Returns:
        The largest j for which blocks 1…j pass both tests; 0 if there is none.
    """
    return progressive_freeze(percentages, 0, len(percentages), threshold, block_ratio)


def progressive_freeze(
    percentages: Percentages, frozen: int, monitor: int, threshold: float, block_ratio: float
) -> int:
    """The number of further blocks that a later freeze takes (Algorithm 1, lines 15-20).

    Args:
        percentages: of every block.
        frozen: the number of frozen blocks j.
        monitor: the monitor size, the largest number of blocks to take.
        threshold: the choice percentage threshold H, in (0, 1).
        block_ratio: the block ratio threshold, in [0, 1).

    Returns:
        The largest x ≤ `monitor` for which blocks j+1…j+x pass both tests; 0 if there is none.
    """
    monitored = percentages[frozen : frozen + monitor]
    longest_first = range(len(monitored), 0, -1)
    return next((x for x in longest_first if passes(monitored[:x], threshold, block_ratio)), 0)


def passes(percentages: Percentages, threshold: float, block_ratio: float) -> bool:
    """Whether consecutive blocks pass both tests (PCF-ES, section 3.4).

    The mean of their majority percentages must exceed the threshold, and so must the percentages of
    more than a `block_ratio` of the blocks.
    """
    majorities = [max(row) for row in percentages]
    limit = exact(threshold)
    exceeding = sum(percentage > limit for percentage in majorities)
    return sum(majorities) > limit * len(majorities) and exceeding > exact(block_ratio) * len(
        majorities
    )


def overwrite(
    problem: Problem, top: Sequence[Architecture], prefix: Architecture
) -> tuple[Architecture, ...]:
    """Give the Top-K a new prefix (Algorithm 1, lines 9 and 18).

    Other architectures come of it: those outside the limits are dropped, equal ones are merged.

    Returns:
        The legal distinct ones, in the order of `top`.
    """
    changed = dict.fromkeys(prefix + architecture[len(prefix) :] for architecture in top)
    return tuple(filter(problem.limits.allows, changed))


def refusal(problem: Problem, prefix: Architecture, parents: Sequence[Architecture]) -> str | None:
    """The reason not to freeze a prefix; `None` if it may be frozen.

    Args:
        problem: the space and the limits.
        prefix: the new prefix.
        parents: the Top-K that `overwrite` left.
    """
    if parents:
        return None
    return NO_SUFFIX if problem.limits.feasible(prefix) is False else NO_PARENT
