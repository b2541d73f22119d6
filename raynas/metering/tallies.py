"""Joules of one device from raw readings, and the seconds of which nothing is known.

A counter may wrap around, or begin anew when a driver is loaded again; a power sensor tells nothing
of the time between two readings that lie far apart. None of that is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from raynas.metering.gauges import Gauge, Kind, UnreadableError

MOST_WATTS = 1000.0
"""More than a package of processors can use: at this power a counter wraps around soonest."""

SLACK_SECONDS = 1.0
"""The time by which a counter may lag behind, so that short times do not look like large powers."""

POWER_GAP_SECONDS = 2.0
"""The longest time between two readings of a power over which their mean is taken."""

LARGEST_WATTS = 5000.0
"""More than any device uses: a counter that advances faster was not counting."""

JUMPED = "its counter jumped"
RESTARTED = "its counter began anew"


@final
@dataclass(frozen=True)
class Tally:
    """The energy of one device since a sampler began.

    Args:
        device: its name, unique on its host.
        kind: of the device.
        joules: as far as they are known.
        unknown: seconds of that time of which nothing is known.
        reason: why, of the latest of them; empty if there are none.
        counter: joules that the device has counted by itself; `None` if it counts none, or could
            not be read.
        range_j: joules at which that counter wraps around, if it does.
    """

    device: str
    kind: Kind
    joules: float = 0.0
    unknown: float = 0.0
    reason: str = ""
    counter: float | None = None
    range_j: float | None = None


@final
class Account:
    """Adds up what a gauge tells, from its first reading on.

    Args:
        gauge: of the device.
        now: seconds on the clock of all readings.
    """

    def __init__(self, gauge: Gauge, now: float) -> None:
        self._gauge = gauge
        self._joules = self._unknown = 0.0
        self._reason = ""
        self._value, self._why = self._read()
        self._at = now

    def take(self, now: float) -> None:
        """Read the gauge, and add what the device has used since the reading before."""
        unit = self._gauge.unit
        value, why = self._read()
        before, seconds = self._value, now - self._at
        gone: float | str
        if value is None or before is None or unit != self._gauge.unit:
            gone = why or self._why or RESTARTED
        elif unit == "J":
            gone = advance(before, value, seconds, self._gauge.range_j)
        elif not 0.0 <= before <= LARGEST_WATTS or not 0.0 <= value <= LARGEST_WATTS:
            gone = f"its power was read as {max(before, value):.4g} W"
        elif seconds > POWER_GAP_SECONDS:
            gone = f"its power was read only after {seconds:.0f} s"
        else:
            gone = (before + value) / 2 * seconds
        if isinstance(gone, str):
            self._unknown += seconds
            self._reason = gone
        else:
            self._joules += gone
        self._value, self._why, self._at = value, why, now

    @property
    def tally(self) -> Tally:
        """The sums so far."""
        gauge = self._gauge
        counter = self._value if gauge.unit == "J" else None
        return Tally(
            gauge.device, gauge.kind, self._joules, self._unknown, self._reason, counter,
            gauge.range_j,
        )  # fmt: skip

    def _read(self) -> tuple[float | None, str]:
        """The value, or `None` and why."""
        try:
            return self._gauge.read(), ""
        except UnreadableError as error:
            return None, str(error)


def advance(before: float, after: float, seconds: float, range_j: float | None) -> float | str:
    """Joules by which a counter advanced, or why that cannot be told.

    Args:
        before: the counter.
        after: the same, later.
        seconds: between the two.
        range_j: joules at which it wraps around; `None` if it never does.
    """
    gone = after - before
    if gone > (seconds + SLACK_SECONDS) * LARGEST_WATTS:
        return JUMPED
    if range_j is None:
        return gone if gone >= 0 else RESTARTED
    if seconds * MOST_WATTS >= range_j:
        return f"its counter may have wrapped around unseen in {seconds:.0f} s"
    if gone >= 0:
        return gone
    gone += range_j
    plausible = gone <= (seconds + SLACK_SECONDS) * MOST_WATTS
    return gone if plausible else RESTARTED
