"""`RecoverableShards`: frozen shards that are made again when they go away with a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, final

from raynas.population.frozen_shards import FrozenShards
from raynas.workers.pool import LostObjectError

RECOVERIES = 3
"""The number of times that lost shards are made again for one action."""

Step = Callable[[FrozenShards], FrozenShards]
"""The next shards made from the ones before, in the same way whenever it is called."""

T = TypeVar("T")


@final
class RecoverableShards:
    """The shards that a sequence of steps has led to.

    Args:
        start: depth-0 shards, which do not go away.
    """

    def __init__(self, start: FrozenShards) -> None:
        self._start = self._shards = start
        self._steps: list[Step] = []

    @property
    def current(self) -> FrozenShards:
        """The shards after all steps."""
        return self._shards

    def with_shards(self, action: Callable[[FrozenShards], T]) -> T:
        """Run an action on the shards; if any are gone, make them again from depth 0.

        Raises:
            LostObjectError: they went away time and again.
        """
        lost = LostObjectError()
        for _ in range(1 + RECOVERIES):
            try:
                self._restore()
                return action(self._shards)
            except LostObjectError as error:
                self._shards, lost = self._start, error
        raise lost

    def apply(self, step: Step) -> None:
        """Apply a step to the shards, and remember it."""
        self._shards = self.with_shards(step)
        self._steps.append(step)

    def _restore(self) -> None:
        if self._shards is self._start:
            shards = self._start
            for step in self._steps:
                shards = step(shards)
            self._shards = shards
