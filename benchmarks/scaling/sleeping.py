"""Actors that sleep instead of computing, with which `scaling.py` simulates a large cluster.

Nothing here imports torch, so that an actor's process stays small.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raynas.evaluation.batch_norm.vectors import NodeVectors, ShardStatistics
from raynas.evaluation.scores import Outcomes
from raynas.space import Architecture
from raynas.workers.busy import Timed
from raynas.workers.calls import Call

NodeKind = tuple[int, int]
"""Depth and choice of a node, whatever came before it."""


@dataclass(frozen=True)
class BlockTable:
    """The times and sizes of a supernet, so that an actor lasts as long as it.

    Args:
        seconds: of each method, the seconds of each kind of node for one image.
        sizes: the length of each kind of node's vector of batch-norm statistics.
    """

    seconds: dict[str, dict[NodeKind, float]]
    sizes: dict[NodeKind, int]

    def scaled(self, factor: float) -> BlockTable:
        """The same supernet on a device that takes so many times as long."""
        seconds = {
            method: {kind: factor * cost for kind, cost in costs.items()}
            for method, costs in self.seconds.items()
        }
        return BlockTable(seconds, self.sizes)

    def work(self, method: str, paths: Sequence[Architecture]) -> float:
        """Seconds of executing nodes on one image."""
        costs = self.seconds[method]
        return sum(costs[kind_of(path)] for path in paths)


@dataclass(frozen=True)
class SleepingShard:
    """Stands for a shard of so many images."""

    rows: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> np.ndarray:
        """Nothing: the digest of the data has nothing to read."""
        return np.empty(0, np.uint8)

    targets = samples = features

    @property
    def weights(self) -> np.ndarray:
        """All 1."""
        return np.ones(self.rows)


class SleepingEvaluator:
    """In the place of `RemoteEvaluator`: each call lasts as long as its trie, and no longer.

    Results have the types, shapes and sizes of real ones.
    """

    _table: BlockTable

    def start(self, table: BlockTable, *settings: Any) -> dict[str, str]:
        """Take the table; the machine that results are said to come from."""
        self._table = table
        return {"device": "cpu"}

    def call(
        self,
        kind: type[Call],
        shard: SleepingShard,
        architectures: Sequence[Architecture],
        *more: Any,
    ) -> Timed:
        """Sleep as long as the call takes."""
        method = kind.name
        begun = time.perf_counter()
        paths = trie_paths(architectures)
        lasts = shard.rows * self._table.work(method, paths)
        forwards = shard.rows * count_blocks(architectures)
        result: ShardStatistics | Outcomes
        if method == "calibrate":
            sizes = tuple(self._table.sizes[kind_of(path)] for path in paths)
            vectors = NodeVectors(tuple(paths), sizes, np.zeros(sum(sizes), np.float32))
            result = ShardStatistics(vectors, forwards)
        else:
            bits = np.zeros((len(architectures), shard.rows), bool)
            finite = np.ones(len(architectures), bool)
            losses = np.zeros(bits.shape, np.float32)
            result = Outcomes({"top1": bits, "top5": bits.copy()}, losses, finite, forwards)
        time.sleep(max(0.0, begun + lasts - time.perf_counter()))
        return Timed(result, time.perf_counter() - begun)


def kind_of(path: Architecture) -> NodeKind:
    """The module that is executed at a path of the trie; as `raynas.evaluation.trie.kind_of`."""
    return len(path), path[-1] if path else 0


def count_blocks(architectures: Sequence[Architecture]) -> int:
    """The choice blocks of a population's trie."""
    return sum(0 < len(path) <= len(architectures[0]) for path in trie_paths(architectures))


def trie_paths(architectures: Sequence[Architecture]) -> list[Architecture]:
    """The nodes of a population's trie: stem, prefixes, and heads."""
    prefixes = {a[:depth] for a in architectures for depth in range(len(a) + 1)}
    return sorted(prefixes | {(*a, 0) for a in architectures})
