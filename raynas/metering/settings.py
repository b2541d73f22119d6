"""`Metering`: what turns joules into grams, and powers that a user states."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import final

from raynas.errors import is_number, require, require_kind

CO2_PER_KWH = 445.0
"""Grams of CO2 for a kilowatt-hour: the world's average of 2024.

International Energy Agency, "Electricity 2025", chapter "Emissions"
(https://www.iea.org/reports/electricity-2025/emissions). It is that of generation alone, without
the building of power stations; that of a single country may be a tenth or twice of it.
"""

POWERS = ("watts", "cpu_watts", "gpu_watts")


@final
@dataclass(frozen=True)
class Metering:
    """Settings of what a search costs; nothing that is found depends on them.

    Powers are used where a machine has no counter that can be read, or where that has gaps; the
    energy is then called estimated.

    Args:
        co2_per_kwh: grams of CO2 for a kilowatt-hour; the world's average of 2024 (IEA), 445, if
            omitted.
        watts: the power of each machine that works, as a whole.
        cpu_watts: instead, the power of the processors of each machine.
        gpu_watts: likewise, the power of each GPU that is used.
    """

    co2_per_kwh: float = CO2_PER_KWH
    watts: float | None = None
    cpu_watts: float | None = None
    gpu_watts: float | None = None

    def __post_init__(self) -> None:
        self._require("co2_per_kwh", self.co2_per_kwh, "grams of CO2, such as 445")
        for name in POWERS:
            value = getattr(self, name)
            if value is not None:
                self._require(name, value, "the watts of a machine, or None")
        parts = [name for name in POWERS[1:] if getattr(self, name) is not None]
        require(
            self.watts is None or not parts,
            "watts",
            f"none beside {' and '.join(parts)}",
            self.watts,
            "State the power of whole machines, or that of their parts.",
        )

    @staticmethod
    def _require(name: str, value: object, expected: str) -> None:
        require(
            is_number(value) and isfinite(value) and value >= 0,
            name,
            f"{expected}; 0 or more",
            repr(value),
            "Give a number.",
        )


def require_metering(metering: Metering | None) -> None:
    """Raise `InputError` unless it is what a search is metered with, or `None`."""
    if metering is not None:
        require_kind(metering, Metering, "metering", "Write it as raynas.Metering(watts=300).")
