"""Additive costs: a `[block][choice]` table, beside what stem and head cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raynas.space import Architecture


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
