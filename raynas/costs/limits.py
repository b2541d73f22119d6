"""Limits on what an architecture may cost, and exact counting under a limit.

The cost of a chain is the cost of its stem and head plus one entry of a `[block][choice]` table per
block. So the cheapest completion of a prefix is known at once, and the number of architectures
within a limit can be counted exactly, without listing them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raynas.costs.counting import flops_table, params_table
from raynas.costs.tables import CostTable
from raynas.errors import require
from raynas.space import Architecture

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet


@dataclass(frozen=True)
class Budget:
    """A cost table and its limit: what the strategies ask whether an architecture is legal.

    Args:
        table: the additive cost.
        at_most: the limit, inclusive; `None` when every architecture is legal.
    """

    table: CostTable
    at_most: int | None = None

    def allows(self, architecture: Architecture) -> bool:
        """Whether the architecture is within the limit."""
        return self.at_most is None or self.table.of(architecture) <= self.at_most

    def feasible(self, prefix: Architecture = ()) -> bool:
        """Whether any architecture that starts with `prefix` is within the limit."""
        return self.allows(self.table.cheapest(prefix))

    def require_feasible(self) -> None:
        """Raise `InputError`, naming the cheapest architecture, if nothing is within the limit."""
        cheapest = self.table.cheapest()
        require(
            self.feasible(),
            "constraint",
            f"a limit of at least {self.table.of(cheapest):,} {self.table.name}, the cost of the "
            f"cheapest architecture {list(cheapest)}",
            f"at most {self.at_most:,}" if self.at_most is not None else None,
            "Raise the limit.",
        )

    def count(self, prefix: Architecture = ()) -> int:
        """The exact number of architectures within the limit that start with `prefix`.

        Counted by meeting in the middle: the distinct costs of each half of the remaining blocks,
        with how often each occurs.
        """
        blocks = self.table.blocks[len(prefix) :]
        if self.at_most is None:
            return int(np.prod([len(costs) for costs in blocks], dtype=object))
        spent = self.table.base + sum(
            costs[choice] for costs, choice in zip(self.table.blocks, prefix, strict=False)
        )
        if self.at_most >= spent + sum(max(costs) for costs in blocks):
            return int(np.prod([len(costs) for costs in blocks], dtype=object))
        half = len(blocks) // 2
        left, left_counts = distinct_sums(blocks[:half])
        right, right_counts = distinct_sums(blocks[half:])
        cumulative = np.concatenate(([0], np.cumsum(right_counts)))
        fits = np.searchsorted(right, self.at_most - spent - left, side="right")
        return int((left_counts * cumulative[fits]).sum())

    def enumerate(
        self, prefix: Architecture, rng: np.random.Generator | None = None
    ) -> Iterator[Architecture]:
        """All architectures within the limit that start with `prefix`.

        Depth first, never entering a prefix without a legal completion; in lexicographic order, or
        with the choices of each visited block shuffled if `rng` is given.
        """
        if not self.feasible(prefix):
            return
        if len(prefix) == len(self.table.blocks):
            yield prefix
            return
        choices = np.arange(len(self.table.blocks[len(prefix)]))
        if rng is not None:
            rng.shuffle(choices)
        for choice in choices:
            yield from self.enumerate((*prefix, int(choice)), rng)


def distinct_sums(blocks: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct sums of one entry per block, and how many ways give each sum.

    Counts are Python integers, so that they never overflow.
    """
    sums = np.zeros(1, dtype=np.int64)
    counts = np.ones(1, dtype=object)
    for costs in blocks:
        every = (sums[:, None] + np.asarray(costs, dtype=np.int64)[None, :]).ravel()
        repeated = np.repeat(counts, len(costs))
        order = np.argsort(every, kind="stable")
        every, repeated = every[order], repeated[order]
        starts = np.flatnonzero(np.concatenate(([True], every[1:] != every[:-1])))
        sums = every[starts]
        counts = np.add.reduceat(repeated, starts)
    return sums, counts


class Constraint(ABC):
    """A limit as the user states it, before there is a supernet."""

    @abstractmethod
    def budget(self, supernet: ChainSupernet) -> Budget:
        """The limit for one supernet."""


@dataclass(frozen=True)
class FLOPs(Constraint):
    """Multiply-accumulates of convolutions and linear layers for one image, as in the papers.

    Args:
        at_most: the limit, inclusive.
    """

    at_most: float

    def __post_init__(self) -> None:
        require_positive("FLOPs(at_most)", self.at_most)

    def budget(self, supernet: ChainSupernet) -> Budget:
        """The limit with the supernet's FLOPs table."""
        return Budget(flops_table(supernet), int(self.at_most))


@dataclass(frozen=True)
class Params(Constraint):
    """Parameters of the network that would be retrained, affine batch norm included.

    Args:
        at_most: the limit, inclusive.
    """

    at_most: float

    def __post_init__(self) -> None:
        require_positive("Params(at_most)", self.at_most)

    def budget(self, supernet: ChainSupernet) -> Budget:
        """The limit with the supernet's parameter table."""
        return Budget(params_table(supernet), int(self.at_most))


def require_positive(argument: str, value: float) -> None:
    """Raise `InputError` unless the limit is a positive finite number."""
    require(
        np.isfinite(value) and value > 0,
        argument,
        "a positive finite number",
        value,
        "Give the largest cost that a legal architecture may have.",
    )
