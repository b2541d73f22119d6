"""How a generation is cut into work units: (part of the population) × (shard)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raynas.space import Architecture

UNITS_PER_WORKER = 2
"""Fewer would leave workers idle at the end of a generation; more would share fewer prefixes."""


def plan(architectures: Sequence[Architecture], shards: int, workers: int) -> list[np.ndarray]:
    """Cut the candidates into parts, each of which is evaluated on every shard.

    Whole populations share most prefixes, so they are cut only where shards alone would not keep
    all workers busy; and then in lexicographic order, where neighbours share the longest prefixes.
    The plan changes nothing but time.

    Returns:
        For each part, the indices of its candidates.
    """
    wanted = -(-UNITS_PER_WORKER * workers // max(shards, 1)) if workers > 1 else 1
    order = sorted(range(len(architectures)), key=lambda index: architectures[index])
    return np.array_split(np.asarray(order, dtype=np.int64), min(wanted, len(order)))
