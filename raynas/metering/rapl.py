"""Energy counters of processor packages, as Linux lays them out below `/sys/class/powercap`.

Intel's and AMD's processors count the joules of each package (RAPL). Since 2020 most systems let
only root read them (CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from raynas.errors import reason_of
from raynas.metering.gauges import PROCESSORS, Absent, Gauge, UnreadableError

FOLDER = Path("/sys/class/powercap")


@final
class Package(Gauge):
    """The counter of one package.

    Args:
        zone: its folder.
        name: of the package.
        range_j: joules at which it wraps around; `None` if the system does not say.
    """

    kind = "cpu"

    def __init__(self, zone: Path, name: str, range_j: float | None) -> None:
        self.device = name
        self._file = zone / "energy_uj"
        self._range = range_j

    @property
    def range_j(self) -> float | None:
        """Joules at which it wraps around."""
        return self._range

    def read(self) -> float:
        """Joules counted so far."""
        try:
            return int(self._file.read_text()) / 1e6
        except PermissionError as error:
            raise UnreadableError(
                f"counters in {self._file.parents[1]} may be read by root alone (chmod a+r "
                f"*/{self._file.name} lets all read them)"
            ) from error
        except (OSError, ValueError) as error:
            raise UnreadableError(f"{self._file}: {reason_of(error)}") from error


def packages(folder: Path = FOLDER) -> list[Gauge]:
    """The counters of all packages of this machine; a gauge that says why, if there are none.

    Other zones are parts of a package, or the platform that packages are part of.
    """
    found: dict[str, Gauge] = {}
    for zone in sorted(folder.glob("*-rapl:*")):
        name = _text(zone / "name")
        if name.startswith("package"):
            limit = _text(zone / "max_energy_range_uj")
            found[name] = Package(zone, name, int(limit) / 1e6 if limit.isdigit() else None)
    reason = f"no energy counters in {folder}"
    return list(found.values()) or [Absent(PROCESSORS, "cpu", reason)]


def _text(path: Path) -> str:
    """The content of a file of the kernel's; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
