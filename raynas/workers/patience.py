"""Decisions about workers that do not start: wait, go on without them, or give up.

An actor that the cluster has no room for waits without a word for as long as somebody else uses
what it needs. An actor that has got its room only takes its time to load, on a slow machine a long
one, and is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

Verdict = Literal["wait", "go on", "give up"]


@final
@dataclass(frozen=True)
class Patience:
    """The seconds without any progress after which something is said or done.

    Args:
        quiet: until it is said which workers are missing, and work goes on with the others.
        room: until it is given up to find room for a first worker.
        loading: until it is given up that an actor which has its room gets ready.
        clock: tells the time in seconds.
    """

    quiet: float = 10.0
    room: float = 45.0
    loading: float = 600.0
    clock: Callable[[], float] = time.monotonic

    def verdict(self, seconds: float, *, without_room: int, loading: int, ready: int) -> Verdict:
        """Decide what to do about workers that are not ready.

        Args:
            seconds: since the last progress.
            without_room: workers that have no resources yet.
            loading: workers that have them, and are not ready.
            ready: workers that can work.
        """
        if without_room + loading == 0:
            return "go on"
        if ready:
            limit = self.loading if loading else self.quiet
            return "wait" if seconds < limit else "go on"
        return "wait" if seconds < (self.loading if loading else self.room) else "give up"
