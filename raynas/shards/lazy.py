"""Sequences of shards that are made when they are asked for, and not before."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from raynas.shards.shard import Shard


def are_in_memory(shards: Sequence[Shard]) -> bool:
    """Whether looking at every shard of a split is cheap: others may be decoded on access."""
    return isinstance(shards, list | tuple)


class LazyShards(Sequence[Shard]):
    """Makes each shard on every access; a slice makes a list of them."""

    @abstractmethod
    def make(self, index: int) -> Shard:
        """The shard of an index from 0 to below the length."""

    @overload
    def __getitem__(self, index: int) -> Shard: ...

    @overload
    def __getitem__(self, index: slice) -> list[Shard]: ...

    def __getitem__(self, index: int | slice) -> Shard | list[Shard]:
        """Make one shard, or several; `IndexError` beyond the last."""
        found = range(len(self))[index]
        return self.make(found) if isinstance(found, int) else [self.make(i) for i in found]
