"""`Meter`: measures the parts of a search, on all machines that work for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, final

from raynas.metering.bills import busy_record, energy_of, gpu_hours
from raynas.metering.sampler import Sampler, Snapshot, machine_sampler
from raynas.metering.settings import Metering
from raynas.metering.spending import spending

UNSEEN = "machines of the workers: none of their meters was read"


class Counted(Protocol):
    """Running totals of those who work."""

    @property
    def workers(self) -> int:
        """Processes that work; 0 for the driver's own."""

    @property
    def gpus(self) -> int:
        """GPUs that they hold."""

    @property
    def busy(self) -> Mapping[str, float] | None:
        """Seconds that they have worked, by operation; `None` where nobody counts them."""


class Metered(Protocol):
    """Workers of a search, on machines of their own or not."""

    @property
    def counters(self) -> Counted:
        """Their running totals."""

    def read_meters(self) -> Sequence[Snapshot]:
        """Snapshots of the machines that they work on, one by each worker that answers."""


@final
class Meter:
    """The meter of a search, which sees the driver's own machine by itself.

    In a `with` statement the machine's counters are read in between as well, so that none wraps
    around unseen.

    Args:
        settings: the carbon intensity, and stated powers.
        sampler: of the driver's machine; its processors if omitted.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        settings: Metering | None = None,
        sampler: Sampler | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings or Metering()
        self._sampler = sampler or machine_sampler()
        self._clock = clock
        self._kept: dict[str, Any] | None = None

    def begin(self, worked: Metered) -> Lap:
        """Measure from now on."""
        return Lap(self.settings, self._sampler, worked, self._clock)

    def keep(self, costs: dict[str, Any]) -> None:
        """Keep the costs of a part that has no record of its own, until they are taken."""
        self._kept = costs

    def take_kept(self) -> dict[str, Any] | None:
        """The costs that were kept, once."""
        kept, self._kept = self._kept, None
        return kept

    def __enter__(self) -> Meter:
        self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._sampler.close()


@final
class Lap:
    """One part of a search, from its construction on.

    Args:
        settings, sampler, clock: those of the meter.
        worked: whose work it is.
    """

    def __init__(
        self,
        settings: Metering,
        sampler: Sampler,
        worked: Metered,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._sampler, self._worked = settings, sampler, worked
        self._clock = clock
        # The clock is read behind the meters, here and at the end, so that both see one stretch.
        self._before = self._snapshots()
        self._busy = worked.counters.busy
        self._began = clock()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._clock() - self._began

    def end(self) -> dict[str, Any]:
        """The costs so far, as fields of a record."""
        after = self._snapshots()
        counted = self._worked.counters
        seconds = self.seconds
        parts = spending(self._before, after, seconds)
        busy = added(self._busy, counted.busy)
        energy = energy_of(parts, self._settings)
        # A worker that was read once only is told of by its devices; the driver reads itself.
        read = max(len(self._before), len(after)) - 1
        if counted.workers > read:
            energy = energy.without(unread(counted.workers, read))
        return {
            "seconds": seconds,
            **busy_record(busy, max(counted.workers, 1) * seconds),
            "gpu_hours": gpu_hours(parts, counted.gpus, seconds),
            **energy.record(self._settings),
            "workers": counted.workers,
        }

    def _snapshots(self) -> list[Snapshot]:
        return [self._sampler.snapshot(), *self._worked.read_meters()]


def unread(workers: int, read: int) -> str:
    """The machines that may be missing, since meters of workers were not read.

    Args:
        workers: that there are.
        read: those whose meters were.
    """
    if read == 0:
        return UNSEEN
    return f"machines of {workers - read} of {workers} workers: their meters were not read"


def added(
    before: Mapping[str, float] | None, after: Mapping[str, float] | None
) -> dict[str, float] | None:
    """Seconds by operation that came to running totals; operations with none are left out."""
    if before is None or after is None:
        return None
    gone = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    return {name: seconds for name, seconds in gone.items() if seconds > 0}
