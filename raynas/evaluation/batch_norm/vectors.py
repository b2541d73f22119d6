"""Vectors of trie nodes in one array, so that thousands of them travel and merge as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from raynas.supernets.chain import NodePath


@final
class NodeVectors(Mapping["NodePath", np.ndarray]):
    """A vector of every node, as views of one flat array.

    Args:
        paths: the nodes.
        sizes: the lengths of their vectors.
        flat: the vectors, one after another.
    """

    def __init__(
        self, paths: tuple[NodePath, ...], sizes: tuple[int, ...], flat: np.ndarray
    ) -> None:
        self.paths = paths
        self.sizes = sizes
        self.flat = flat

    @staticmethod
    def join(vectors: Mapping[NodePath, np.ndarray]) -> NodeVectors:
        """The same vectors in one array; themselves if they already are."""
        if isinstance(vectors, NodeVectors):
            return vectors
        values = list(vectors.values())
        flat = np.concatenate(values) if values else np.empty(0, np.float32)
        return NodeVectors(tuple(vectors), tuple(map(len, values)), flat)

    @staticmethod
    def unite(parts: Sequence[NodeVectors]) -> NodeVectors:
        """The vectors of all parts; parts that have a node agree on its vector."""
        if len(parts) == 1:
            return parts[0]
        return NodeVectors.join({path: part[path] for part in reversed(parts) for path in part})

    def is_same(self, other: Mapping[NodePath, np.ndarray]) -> bool:
        """Whether they are known to be the same without a look at the values.

        They are if they are one object, or two views of one place that nobody can write to, such as
        an object in Ray's store: as long as this one is held, nothing else can be there.
        """
        if self is other or not isinstance(other, NodeVectors):
            return self is other
        places = [each.flat.__array_interface__["data"] for each in (self, other)]
        same = places[0] == places[1] and places[0][1] and self.flat.shape == other.flat.shape
        return bool(same) and self.sizes == other.sizes and self.paths == other.paths

    @cached_property
    def _spans(self) -> dict[NodePath, tuple[int, int]]:
        stops = np.cumsum(self.sizes, dtype=np.int64)
        starts = stops - self.sizes
        spans = zip(starts.tolist(), stops.tolist(), strict=True)
        return dict(zip(self.paths, spans, strict=True))

    def __getitem__(self, path: NodePath) -> np.ndarray:
        start, stop = self._spans[path]
        return self.flat[start:stop]

    def __iter__(self) -> Iterator[NodePath]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __reduce__(self) -> tuple[Any, ...]:
        return NodeVectors, (self.paths, self.sizes, self.flat)


@final
@dataclass(frozen=True)
class Layer:
    """A batch norm of a node: the part of the node's vector that is its own, start to stop."""

    node: NodePath
    start: int
    stop: int


@final
@dataclass(frozen=True)
class ShardStatistics:
    """Batch-norm statistics from one shard.

    Args:
        statistics: `float32[2 * channels]` of every node that was executed, keyed by its path.
        block_forwards: blocks executed, times samples.
        halvings: how often a batch that did not fit in memory was halved.
        calls: how often layers of modules of a user were called, but for those that were once. The
            supernet's statistics stand for what was not called.
    """

    statistics: Mapping[NodePath, np.ndarray]
    block_forwards: int
    halvings: int = 0
    calls: Mapping[Layer, int] = field(default_factory=dict)
