"""What architectures cost: additive tables, limits, and exact counting under a limit.

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

from raynas.errors import require
from raynas.space import Architecture

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import ChainSupernet


@dataclass(frozen=True)
class CostTable:
    """An additive cost.

    Args:
        name: what is counted: `"flops"`, `"params"`.
        base: the cost of stem and head.
        blocks: `[block][choice]` costs.
    """

    name: str
    base: int
    blocks: tuple[tuple[int, ...], ...]

    def of(self, architecture: Architecture) -> int:
        """The cost of a whole architecture."""
        return self.base + sum(
            costs[choice] for costs, choice in zip(self.blocks, architecture, strict=True)
        )

    def cheapest(self, prefix: Architecture = ()) -> Architecture:
        """The cheapest architecture that starts with `prefix`; ties go to the lowest choice."""
        suffix = self.blocks[len(prefix) :]
        return prefix + tuple(int(np.argmin(costs)) for costs in suffix)


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


def flops_table(supernet: ChainSupernet) -> CostTable:
    """Multiply-accumulates for one image of each choice of each block (design, section 4.14).

    Counted on the meta device, so nothing is computed.
    """
    from torch import empty, uint8

    from raynas.supernets.chain import to_meta

    replica = to_meta(supernet)
    image = empty((1, *supernet.image_shape), dtype=uint8, device="meta")
    base, x = count_macs(replica.stem, image)
    blocks = []
    for block, choices in enumerate(supernet.space.choices):
        counted = [count_macs(replica.node((0,) * block + (c,)), x) for c in range(choices)]
        blocks.append(tuple(macs for macs, _ in counted))
        x = counted[0][1]
    head, _ = count_macs(replica.head, x)
    return CostTable("flops", base + head, tuple(blocks))


def count_macs(module: torch.nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """The multiply-accumulates of one module on one input, and its output."""
    from torch import no_grad
    from torch.utils.flop_counter import FlopCounterMode

    with no_grad(), FlopCounterMode(display=False) as counter:
        output = module(x)
    return counter.get_total_flops() // 2, output


def params_table(supernet: ChainSupernet) -> CostTable:
    """Parameters of each choice of each block, counting batch norm as affine.

    Weights that choices of one block share are counted in each of them.
    """
    base = count_params(supernet.stem) + count_params(supernet.head)
    blocks = tuple(
        tuple(count_params(supernet.node((0,) * block + (c,))) for c in range(choices))
        for block, choices in enumerate(supernet.space.choices)
    )
    return CostTable("params", base, blocks)


def count_params(module: torch.nn.Module) -> int:
    """Parameters of one module after making its batch norms affine."""
    from raynas.supernets.chain import batch_norms

    own = sum(parameter.numel() for parameter in module.parameters())
    missing = sum(2 * norm.num_features for norm in batch_norms(module) if not norm.affine)
    return own + missing
