"""The candidate pool of GreedyNAS: the best paths met while a supernet was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, final

import numpy as np

from raynas.errors import InputError, is_whole, require
from raynas.score import finite_or
from raynas.space import Architecture, SearchSpace


@final
class CandidatePool:
    """Paths with their losses, at most `size` of them; the largest loss makes way (section 4.1.1).

    A path that is met again takes its new loss, since the weights have changed. Ties are broken by
    the lexicographic order of the paths, so that the content depends on what was added alone.

    Args:
        size: the most paths that it holds.

    Raises:
        InputError: a size below 1.
    """

    def __init__(self, size: int) -> None:
        require(is_whole(size) and size >= 1, "pool", "at least 1", repr(size), "Use 1000.")
        self.size = size
        self._losses: dict[Architecture, float] = {}

    def __len__(self) -> int:
        return len(self._losses)

    def __iter__(self) -> Iterator[Architecture]:
        """The paths, the smallest loss first."""
        return iter(sorted(self._losses, key=self._rank))

    def loss(self, path: Architecture) -> float:
        """The loss that a path of the pool was last met with."""
        return self._losses[path]

    def add(self, path: Architecture, loss: float) -> None:
        """Add a path, or its new loss; losses that are not finite rank last."""
        self._losses[path] = finite_or(loss, inf)
        if len(self._losses) > self.size:
            del self._losses[max(self._losses, key=self._rank)]

    def draw(self, rng: np.random.Generator) -> Architecture:
        """One path, each equally likely; the pool must not be empty."""
        paths = list(self)
        return paths[int(rng.integers(len(paths)))]

    def overlap(self, earlier: Sequence[Architecture]) -> float:
        """The share of the pool that an earlier content of it held already.

        Raises:
            InputError: the pool is empty.
        """
        require(len(self) > 0, "pool", "at least one path", "none", "Add some.")
        return len(self._losses.keys() & set(earlier)) / len(self)

    def to_json(self) -> list[list[Any]]:
        """Every path and its loss, the smallest loss first."""
        return [[list(path), self._losses[path]] for path in self]

    def restore(self, content: Sequence[Sequence[Any]], space: SearchSpace) -> None:
        """Take over what `to_json` gave.

        Raises:
            InputError: paths of another space, or more than the pool holds.
        """
        found = {space.validate(path, "pool"): float(loss) for path, loss in content}
        if len(found) > self.size:
            raise InputError(
                "pool", f"at most {self.size} paths", len(found), "Resume with a pool as large."
            )
        self._losses = found

    def _rank(self, path: Architecture) -> tuple[float, Architecture]:
        return self._losses[path], path
