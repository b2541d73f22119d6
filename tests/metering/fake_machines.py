"""Machines whose power is known at every moment: a fake NVML, a fake powercap folder, a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml

from raynas.metering.sampler import Host, Snapshot
from raynas.metering.tallies import Tally

Curve = Callable[[float], float]
"""Joules since time 0, by seconds: the integral of a power."""

RANGE_J = 65_532.610987
"""The range of many packages: a 32-bit counter of 15.3 µJ."""


def constant(watts: float) -> Curve:
    """A power that never changes."""
    return lambda seconds: watts * seconds


def wave(watts: float, swing: float, period: float) -> Curve:
    """A power that swings about its mean as a sine."""
    turn = 2 * math.pi / period
    return lambda seconds: watts * seconds + swing / turn * (1 - math.cos(turn * seconds))


class Clock:
    """The time, which passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Powercap:
    """A powercap folder as Linux lays it out, whose packages draw known powers.

    Counters stand at `start` at time 0, and wrap around.
    """

    def __init__(self, folder: Path, clock: Clock, *curves: Curve, start: float = 0.0) -> None:
        self.folder, self._clock, self._curves, self._start = folder, clock, curves, start
        for number in range(len(curves)):
            self.zone(str(number), f"package-{number}")
        self.write()

    def zone(self, number: str, name: str, joules: float = 0.0) -> Path:
        """Add a zone, of a package or of something else."""
        path = self.folder / f"intel-rapl:{number}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{RANGE_J * 1e6:.0f}\n")
        (path / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
        return path

    def write(self) -> None:
        """Let the counters show the present time."""
        for number, curve in enumerate(self._curves):
            joules = (self._start + curve(self._clock.now)) % RANGE_J
            (self.folder / f"intel-rapl:{number}" / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")


@dataclass
class FakeGpu:
    """A GPU of a `FakeNvml`.

    Args:
        curve: its energy.
        counts: whether it has a counter of its energy; if not, it tells its power.
        reset: when its driver was loaded; the counter starts then.
        error: NVML's code of the error that everything fails with, if any.
        parent: the UUID of the GPU that it is an instance of, if it is one.
    """

    curve: Curve
    counts: bool = True
    reset: float = 0.0
    error: int | None = None
    parent: str | None = None


@dataclass
class FakeNvml:
    """As much of `pynvml` as is used, over GPUs of known power; counts its open sessions."""

    clock: Clock
    gpus: dict[str, FakeGpu]
    missing: int | None = None
    sessions: int = field(default=0, init=False)

    NVMLError = pynvml.NVMLError
    NVML_ERROR_NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED

    def nvmlInit(self) -> None:
        if self.missing is not None:
            raise pynvml.NVMLError(self.missing)
        self.sessions += 1

    def nvmlShutdown(self) -> None:
        self.sessions -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.gpus:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self._alive(uuid)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        parent = self.gpus[handle].parent
        assert parent is not None
        return parent

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        gpu = self.gpus[self._alive(handle)]
        if not gpu.counts:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return round(1e3 * (gpu.curve(self.clock.now) - gpu.curve(gpu.reset)))

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        gpu = self.gpus[self._alive(handle)]
        step = 1e-4
        return round(1e3 * (gpu.curve(self.clock.now + step) - gpu.curve(self.clock.now)) / step)

    def _alive(self, uuid: str) -> str:
        error = self.gpus[uuid].error
        if error is not None:
            raise pynvml.NVMLError(error)
        return uuid


HERE = Host("here", "alpha")
THERE = Host("there", "beta")


def snapshot(origin: str, age: float, *tallies: Tally, host: Host = HERE) -> Snapshot:
    """One process's view of a machine."""
    return Snapshot(host, origin, age, tallies)


def package(joules: float, **options: Any) -> Tally:
    """The tally of a package, whose counter stands at the same joules unless it is given."""
    return Tally("package-0", "cpu", joules, **{"counter": joules, **options})


def gpu(joules: float, name: str = "GPU-a", **options: Any) -> Tally:
    """The tally of a GPU, likewise."""
    return Tally(name, "gpu", joules, **{"counter": joules, **options})


class Crew:
    """Those who work for a search, as they are told to be."""

    def __init__(self, **counted: Any) -> None:
        self.counters = Counted(**counted)
        self.snapshots: Sequence[Snapshot] = ()

    def read_meters(self) -> Sequence[Snapshot]:
        return self.snapshots


@dataclass
class Counted:
    """Running totals."""

    workers: int = 0
    gpus: int = 0
    busy: dict[str, float] | None = None
