"""Estimates of when a generation, and a search, will end, from what has been seen of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING, final

from raynas.files import Record

if TYPE_CHECKING:
    from raynas.workers.call_progress import CallProgress

RECENT = 3
"""Generations whose mean time is expected of the next ones: blocks that freeze make them faster."""


@final
class Pace:
    """The pace of a search under way.

    A generation advances and gathers shards where it freezes, then calibrates, then scores. The
    operation under way ends as its calls do; those behind it take what they took last, a scoring in
    proportion to its calibration. Nothing is estimated before it has been seen once.

    Args:
        generations: the limit of the search; `None` where it is not known.
        clock: tells the time in seconds.
    """

    def __init__(
        self, generations: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._generations = generations
        self._clock = clock
        self._done = 0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._begun = clock()
        self._operation: str | None = None
        self._operation_begun = self._begun
        self._spent: dict[str, float] = {}
        self._calibrated: float | None = None
        self._ratio: float | None = None
        self._ends: float | None = None

    def generation(self, record: Record, metrics: Record, ago: float = 0.0) -> None:
        """Take in a generation that has ended.

        Args:
            record, metrics: of it.
            ago: the seconds since it ended.
        """
        self._done = record["generation"] + 1
        if metrics.get("seconds"):
            self._recent.append(metrics["seconds"])
        self._begun = self._clock() - ago
        self._operation = None
        # Until the first operation begins, the whole generation is expected to last as others.
        goes_on = self._recent and record["finished"] is None
        self._ends = self._begun + self._recent[-1] if goes_on else None

    def calls(self, progress: CallProgress) -> None:
        """Take in how far the operation under way is."""
        now = self._clock()
        if progress.done == 0 or progress.operation != self._operation:
            self._operation, self._operation_begun = progress.operation, now
        spent = now - self._operation_begun
        if progress.done == progress.planned:
            self._finish(progress.operation, spent)
        if progress.done:
            whole: float | None = spent * progress.planned / progress.done
        else:
            whole = self._expected(progress.operation)
        behind = None if whole is None else self._behind(progress.operation, whole)
        self._ends = None if whole is None or behind is None else now - spent + whole + behind

    def _finish(self, operation: str, seconds: float) -> None:
        """Remember how long an operation took."""
        if operation == "score" and self._calibrated:
            self._ratio = seconds / self._calibrated
        self._calibrated = seconds if operation == "calibrate" else None
        self._spent[operation] = seconds

    def _expected(self, operation: str) -> float | None:
        """The seconds of an operation that begins, if it has been seen before."""
        if operation == "score" and self._ratio is not None and self._calibrated:
            return self._ratio * self._calibrated
        return self._spent.get(operation)

    def _behind(self, operation: str, whole: float) -> float | None:
        """The seconds that follow an operation which takes `whole` of them, if they are known."""
        if operation == "score":
            return 0.0
        if operation == "calibrate":
            return None if self._ratio is None else self._ratio * whole
        scored = self._spent.get("score")
        return None if scored is None else self._spent.get("calibrate", 0.0) + scored

    @property
    def elapsed(self) -> float:
        """The seconds of the generation under way."""
        return self._clock() - self._begun

    @property
    def generation_left(self) -> float | None:
        """The seconds until the generation under way ends; `None` if that cannot be told."""
        return None if self._ends is None else max(0.0, self._ends - self._clock())

    @property
    def search_left(self) -> float | None:
        """The seconds until the last generation that may come ends; `None` likewise."""
        if self._generations is None or not self._recent:
            return None
        left = self.generation_left
        mean = fmean(self._recent)
        under_way = max(0.0, mean - self.elapsed) if left is None else left
        return under_way + max(0, self._generations - self._done - 1) * mean
