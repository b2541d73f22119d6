"""What a search costs: seconds, and energy where the machine can measure it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")


class Meter:
    """Measures from its construction on.

    Energy is that of the NVIDIA GPUs (NVML) and of the processor packages (RAPL) of the machine
    that runs the driver; other machines of a cluster are not seen.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._rapl = read_rapl()
        self._nvml = read_nvml()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started

    @property
    def energy_j(self) -> float | None:
        """Joules so far; `None` where nothing can measure them."""
        used = []
        for before, after, ranges in (
            (self._rapl, read_rapl(), rapl_ranges()),
            (self._nvml, read_nvml(), {}),
        ):
            for name in before.keys() & after.keys():
                difference = after[name] - before[name]
                used.append(difference if difference >= 0 else difference + ranges.get(name, 0.0))
        return sum(used) if used else None


def read_rapl() -> dict[str, float]:
    """Joules counted by each processor package; counters wrap around."""
    return _read_packages("energy_uj")


def rapl_ranges() -> dict[str, float]:
    """Joules at which each package's counter wraps around."""
    return _read_packages("max_energy_range_uj")


def _read_packages(name: str) -> dict[str, float]:
    values = {}
    for package in RAPL.glob("*-rapl:[0-9]*"):
        if package.name.count(":") > 1:
            continue
        try:
            values[package.name] = int((package / name).read_text()) / 1e6
        except (OSError, ValueError):
            continue
    return values


def read_nvml() -> dict[str, float]:
    """Joules counted by each NVIDIA GPU of this machine."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    values: dict[str, float] = {}
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            try:
                energy_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except pynvml.NVMLError:
                continue
            values[f"gpu{index}"] = energy_mj / 1e3
    finally:
        pynvml.nvmlShutdown()
    return values
