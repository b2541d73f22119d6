"""Seconds that workers are busy, by operation: measured around each call, told with its result."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from raynas.workers.calls import Call

if TYPE_CHECKING:
    from raynas.evaluation.evaluator import Evaluator


@final
@dataclass(frozen=True)
class Timed:
    """The result of a call, and the seconds that its worker was busy with it."""

    value: Any
    seconds: float


def run_timed(call: Call[Any], evaluator: Evaluator) -> Timed:
    """Run a call, and measure it."""
    begun = time.perf_counter()
    value = call.run(evaluator)
    return Timed(value, time.perf_counter() - begun)


@final
class BusySeconds:
    """The seconds of all calls of a pool so far."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @property
    def by_operation(self) -> dict[str, float]:
        """Seconds by the name of the operation, added up over the workers."""
        return dict(self._seconds)

    def take(self, call: Call[Any], timed: Timed) -> Any:
        """Count a call; its result."""
        self._seconds[call.operation] += timed.seconds
        return timed.value
