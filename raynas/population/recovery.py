"""`RecoverableView`: shards that are made again when they go away with a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from raynas.population.frozen_shards import View
from raynas.workers.pool import LostObjectError

RECOVERIES = 3
"""How often shards that went away are made again for one action."""

Step = Callable[[View], View]
"""Makes a view from the one before it, in the same way whenever it is called."""

T = TypeVar("T")


class RecoverableView:
    """The view that a sequence of steps has led to.

    Args:
        start: of images, whose shards do not go away.
    """

    def __init__(self, start: View) -> None:
        self._start = self._view = start
        self._steps: list[Step] = []

    @property
    def current(self) -> View:
        """The view after all steps."""
        return self._view

    def run(self, action: Callable[[View], T]) -> T:
        """Run an action on the view; if shards are gone, make them again from the images.

        Raises:
            LostObjectError: they went away time and again.
        """
        lost = LostObjectError()
        for _ in range(1 + RECOVERIES):
            try:
                self._restore()
                return action(self._view)
            except LostObjectError as error:
                self._view, lost = self._start, error
        raise lost

    def take(self, step: Step) -> None:
        """Go one step further."""
        self._view = self.run(step)
        self._steps.append(step)

    def _restore(self) -> None:
        if self._view is self._start:
            view = self._start
            for step in self._steps:
                view = step(view)
            self._view = view
