"""The price of a search: seconds, and energy where the machine can measure it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

RAPL = Path("/sys/class/powercap")


@final
class Meter:
    """Measures from its construction on.

    Energy is that of the NVIDIA GPUs (NVML) and of the processor packages (RAPL) of the machine
    that runs the driver, whoever used them; other machines of a cluster are not seen.

    Args:
        rapl: the folder of the kernel's energy counters.
    """

    def __init__(self, rapl: Path = RAPL) -> None:
        self._folder = rapl
        self._started = time.perf_counter()
        self._rapl = read_rapl(rapl)
        self._nvml = read_nvml()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started

    @property
    def energy_j(self) -> float | None:
        """Joules so far; `None` where nothing can measure them."""
        used = [
            *differences(self._rapl, read_rapl(self._folder), rapl_ranges(self._folder)),
            *differences(self._nvml, read_nvml(), {}),
        ]
        return sum(used) if used else None


def differences(
    before: Mapping[str, float], after: Mapping[str, float], ranges: Mapping[str, float]
) -> list[float]:
    """Joules that each counter advanced; those that went back from an unknown end are left out.

    Args:
        before: joules by counter.
        after: the same, later.
        ranges: joules at which counters wrap around.
    """
    gone = {name: after[name] - before[name] for name in before.keys() & after.keys()}
    return [
        difference if difference >= 0 else difference + ranges[name]
        for name, difference in sorted(gone.items())
        if difference >= 0 or name in ranges
    ]


def read_rapl(folder: Path) -> dict[str, float]:
    """Joules counted by each processor package; counters wrap around."""
    return _read_packages(folder, "energy_uj")


def rapl_ranges(folder: Path) -> dict[str, float]:
    """Joules at which each package's counter wraps around."""
    return _read_packages(folder, "max_energy_range_uj")


def _read_packages(folder: Path, name: str) -> dict[str, float]:
    values = {}
    for zone in folder.glob("*-rapl:*"):
        try:
            # Other zones are parts of a package, or the platform that packages are part of.
            if (zone / "name").read_text().startswith("package"):
                values[zone.name] = int((zone / name).read_text()) / 1e6
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
            with suppress(pynvml.NVMLError):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                energy_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                values[f"gpu{index}"] = energy_mj / 1e3
    except pynvml.NVMLError:
        return values
    finally:
        pynvml.nvmlShutdown()
    return values
