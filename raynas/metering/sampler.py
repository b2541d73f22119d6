"""`Sampler`: the gauges of one machine, read often enough by a thread, and a snapshot of them."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from raynas.metering import nvml, rapl
from raynas.metering.gauges import Absent, Gauge
from raynas.metering.tallies import Account, Tally

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Names a running kernel: the same in all containers of a machine, whose counters they share."""

COUNTER_SECONDS = 5.0
"""The time between readings of counters: those of processors wrap around in a minute at the least.
"""

POWER_SECONDS = 0.1
"""The time between readings where a device tells only its power."""


@final
@dataclass(frozen=True)
class Host:
    """A machine.

    Args:
        key: no other machine has it.
        name: for people.
    """

    key: str
    name: str


@final
@dataclass(frozen=True)
class Snapshot:
    """The view that one process has of its machine, since it began to look.

    Args:
        host: the machine.
        origin: names the sampler; no other process has it.
        age: seconds since it began.
        tallies: one for each device.
    """

    host: Host
    origin: str
    age: float
    tallies: tuple[Tally, ...]


@final
class Sampler:
    """Reads gauges from its construction on; between snapshots too, once it is started.

    Args:
        gauges: of this machine; closed with the sampler.
        host: the machine; asked of the system if omitted.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        gauges: Sequence[Gauge],
        host: Host | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gauges = tuple(gauges)
        self._host = host or this_host()
        self._origin = uuid.uuid4().hex
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = clock()
        self._accounts = [Account(gauge, self._began) for gauge in self._gauges]
        self._thread: threading.Thread | None = None

    def start(self) -> Sampler:
        """Read the gauges by a thread from now on, unless there is nothing to read."""
        if self._thread is None and not all(isinstance(each, Absent) for each in self._gauges):
            # It never keeps a process alive.
            self._thread = threading.Thread(target=self._run, name="raynas-meter", daemon=True)
            self._thread.start()
        return self

    def snapshot(self) -> Snapshot:
        """Read all gauges now."""
        with self._lock:
            now = self._clock()
            for account in self._accounts:
                account.take(now)
            tallies = tuple(account.tally for account in self._accounts)
        return Snapshot(self._host, self._origin, now - self._began, tallies)

    def close(self) -> None:
        """End the thread, and let go of the gauges."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for gauge in self._gauges:
            gauge.close()
        self._gauges = ()

    @property
    def interval(self) -> float:
        """Seconds between two readings of the thread."""
        powers = any(gauge.unit == "W" for gauge in self._gauges)
        return POWER_SECONDS if powers else COUNTER_SECONDS

    def _run(self) -> None:
        while not self._stop.wait(self.interval):
            self.snapshot()


def this_host() -> Host:
    """The machine that this process runs on."""
    name = socket.gethostname()
    try:
        return Host(BOOT_ID.read_text().strip(), name)
    except OSError:
        return Host(f"{name}-{uuid.getnode():x}", name)


def machine_sampler(gpus: Sequence[str] = ()) -> Sampler:
    """The sampler of this machine's processors, and of those of its GPUs that are used here.

    Args:
        gpus: their UUIDs.
    """
    return Sampler([*rapl.packages(), *nvml.gpus(gpus)])
