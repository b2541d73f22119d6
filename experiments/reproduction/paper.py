"""The numbers of the PCF-ES paper (ICLR submission; its Table 1 and appendix), as it prints them.

Top-1 and top-5 are validation accuracies in per cent on ImageNet, or on the data set that is named.
What its figures show is known only as far as its text says it in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class PaperRow:
    """One row of Table 1 or 2.

    Args:
        threshold, monitor: of choice freezing.
        top1, top5: in per cent.
        hours: GPU hours.
        flops: millions; `None` where the table has none.
        energy: megajoules, likewise.
    """

    threshold: float | None
    monitor: int | None
    top1: float
    top5: float
    hours: float
    flops: float | None = None
    energy: float | None = None


TABLE_1: Mapping[str, Mapping[str, PaperRow]] = {
    "spos": {
        "ea": PaperRow(None, None, 73.5, 90.2, 16.7, 328, 4.5),
        "cf": PaperRow(0.7, None, 73.5, 90.1, 13.9, 324, 3.8),
        "pcf": PaperRow(0.7, 3, 73.4, 90.1, 7.5, 316, 2.2),
    },
    "fairnas": {
        "ea": PaperRow(None, None, 72.0, 89.8, 15.2, 322, 4.2),
        "cf": PaperRow(0.5, None, 72.2, 90.0, 11.7, 323, 3.4),
        "pcf": PaperRow(0.4, 2, 71.9, 90.1, 8.4, 329, 2.5),
    },
    "greedynas": {
        "ea": PaperRow(None, None, 72.5, 90.1, 17.9, 322, 4.8),
        "cf": PaperRow(0.4, None, 72.3, 90.2, 15.1, 327, 3.9),
        "pcf": PaperRow(0.4, 3, 72.5, 90.2, 11.1, 328, 3.0),
    },
}
"""Table 1, by supernet and method."""

TABLE_2: Mapping[str, Mapping[str, PaperRow]] = {
    "CIFAR-10": {
        "ea": PaperRow(None, None, 96.5, 99.9, 5.4),
        "cf": PaperRow(None, None, 96.5, 99.9, 4.6),
        "pcf": PaperRow(None, None, 96.4, 99.9, 3.0),
    },
    "CIFAR-100": {
        "ea": PaperRow(None, None, 75.1, 92.4, 5.4),
        "cf": PaperRow(None, None, 75.0, 92.1, 4.4),
        "pcf": PaperRow(None, None, 74.9, 92.3, 2.6),
    },
}
"""Table 2: SPOS on other data sets."""

TABLE_3: Mapping[str, Mapping[float, float]] = {
    "random": {0.9: 73.4, 0.7: 73.5, 0.5: 73.1, 0.3: 73.1},
    "importance": {0.9: 73.5, 0.7: 73.5, 0.5: 73.4, 0.3: 73.1},
}
"""Table 3: top-1 by the way of sampling and the rate."""

TABLE_4: Mapping[float, Mapping[int, float]] = {
    0.5: {32: 73.4, 16: 73.4, 8: 73.1, 4: 73.0},
    0.3: {32: 73.1, 16: 73.1, 8: 72.8, 4: 72.8},
    0.1: {32: 73.1, 16: 73.1, 8: 73.0, 4: 72.8},
}
"""Table 4: top-1 by sample rate and bits."""


def saved(rows: Mapping[str, PaperRow], method: str, column: str = "hours") -> float | None:
    """The share of the evolutionary search's hours, or megajoules, that a method saves."""
    base, own = (getattr(rows[name], column) for name in ("ea", method))
    return None if base is None or own is None else 1.0 - own / base
