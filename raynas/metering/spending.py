"""Energy of every device between two moments, from the snapshots of all processes at both.

Processes come and go: each device is told by the process that knows most of the time. Where its
process was replaced, the device's own counter tells what was used meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from raynas.metering.gauges import PROCESSORS, Kind
from raynas.metering.sampler import Host, Snapshot
from raynas.metering.tallies import Tally, advance

WHOLE = 1 - 1e-6
"""The share of a time above which it is all of it, but for rounding."""


@final
@dataclass(frozen=True)
class Spending:
    """The energy that one device used in a time.

    Args:
        host: its machine.
        device: its name there.
        kind: of the device.
        seconds: of that time in which it belonged to the search.
        joules: as far as they are known.
        unknown: seconds of which nothing is known, at most all.
        reason: why; empty if there are none.
    """

    host: Host
    device: str
    kind: Kind
    seconds: float
    joules: float
    unknown: float = 0.0
    reason: str = ""


@final
class Seen(NamedTuple):
    """A device, as one process saw it at one moment."""

    host: Host
    origin: str
    age: float
    tally: Tally


Key = tuple[str, str]
"""The host and the name of a device."""


def spending(
    before: Iterable[Snapshot], after: Iterable[Snapshot], seconds: float
) -> list[Spending]:
    """The energy of each device between two moments, each device once.

    Args:
        before: of all processes at the first.
        after: likewise at the second.
        seconds: between the two.
    """
    first, last = by_device(before), by_device(after)
    keys = sorted({*first, *last})
    readable = {
        key[0]
        for key in keys
        if key[1] != PROCESSORS and (last.get(key) or first[key])[0].tally.kind == "cpu"
    }
    present = {host for host, _ in last}
    return [
        of_device(first.get(key, ()), last.get(key, ()), seconds, lost=key[0] not in present)
        for key in keys
        # A process that cannot read the packages says nothing new beside one that can.
        if key[1] != PROCESSORS or key[0] not in readable
    ]


def by_device(snapshots: Iterable[Snapshot]) -> Mapping[Key, Sequence[Seen]]:
    """Every device, as the processes saw it that know it."""
    found: dict[Key, list[Seen]] = defaultdict(list)
    for each in snapshots:
        for tally in each.tallies:
            seen = Seen(each.host, each.origin, each.age, tally)
            found[each.host.key, tally.device].append(seen)
    return dict(found)


def of_device(
    before: Sequence[Seen], after: Sequence[Seen], seconds: float, *, lost: bool
) -> Spending:
    """The energy of one device.

    Args:
        before: as processes saw it at the first moment.
        after: likewise at the second.
        seconds: between the two.
        lost: whether no process of its machine is there any more.
    """
    pairs = [(one, other) for one in before for other in after if one.origin == other.origin]
    if pairs:
        return min((through(*pair, seconds) for pair in pairs), key=lambda each: each.unknown)
    if not after:
        why = "the machine was lost" if lost else "the worker on it was lost"
        return unknown(before[0], seconds, why)
    if before:
        return bridged(before, after, seconds)
    latest = max(after, key=lambda each: each.age)
    if latest.age > seconds:
        return unknown(latest, seconds, "it was not read at the beginning")
    return spent(latest, latest.age, latest.tally.joules, latest.tally.unknown)


def through(before: Seen, after: Seen, seconds: float) -> Spending:
    """The energy of a device that one process has seen all the time."""
    lasted = after.age - before.age
    missed = after.tally.unknown - before.tally.unknown
    share = missed / lasted if lasted > 0 else float(bool(after.tally.reason))
    joules = after.tally.joules - before.tally.joules
    # Its clock is another one, so that its seconds are not quite those of the others.
    return spent(after, seconds, joules, seconds * (1.0 if share > WHOLE else share))


def bridged(before: Sequence[Seen], after: Sequence[Seen], seconds: float) -> Spending:
    """The energy of a device whose process was replaced, by the device's own counter."""
    known = [each.tally.counter for each in before if each.tally.counter is not None]
    latest = max(after, key=lambda each: each.age)
    tally = latest.tally
    if known and tally.counter is not None:
        gone = advance(known[-1], tally.counter, seconds, tally.range_j)
        if not isinstance(gone, str):
            return Spending(latest.host, tally.device, tally.kind, seconds, gone)
    missed = min(seconds, max(0.0, seconds - latest.age) + tally.unknown)
    if latest.age > seconds:
        return unknown(latest, seconds, "it was not read at the beginning")
    return spent(latest, seconds, tally.joules, missed, "the worker on it was replaced")


def spent(
    seen: Seen, seconds: float, joules: float, missed: float, otherwise: str = ""
) -> Spending:
    """A device's energy, with the reason of what is not known of it."""
    reason = (seen.tally.reason or otherwise) if missed > 0 else ""
    kind = seen.tally.kind
    return Spending(seen.host, seen.tally.device, kind, seconds, joules, missed, reason)


def unknown(seen: Seen, seconds: float, reason: str) -> Spending:
    """A device of which nothing is known in this time."""
    reason = seen.tally.reason or reason
    return Spending(seen.host, seen.tally.device, seen.tally.kind, seconds, 0.0, seconds, reason)
