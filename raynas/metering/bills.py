"""Joules, GPU hours and grams of a piece of work, and of a whole run, as they are recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, final

from raynas.metering.settings import Metering
from raynas.metering.spending import Spending

JOULES_PER_KWH = 3.6e6

NAMED = 3
"""The number of devices, or of reasons, that are named one by one."""

EARLIER = "it was recorded by an earlier version, which saw the driver's machine alone"


@final
@dataclass(frozen=True)
class Energy:
    """Joules, and how they are known.

    Args:
        joules: `None` where nothing is known.
        source: `"estimated"` where a stated power stands for a part; `None` with the joules.
        missing: the devices that are not in it and why; `None` if there are none.
    """

    joules: float | None
    source: Literal["measured", "estimated"] | None
    missing: str | None

    def without(self, devices: str) -> Energy:
        """The same, with other devices that are not in it, and why."""
        return replace(self, missing="; ".join(filter(None, (self.missing, devices))))

    def record(self, settings: Metering) -> dict[str, Any]:
        """The energy as fields of a record."""
        return {
            "energy_j": self.joules,
            "energy_source": self.source,
            "energy_missing": self.missing,
            "co2_g": grams(self.joules, settings),
        }


def grams(joules: float | None, settings: Metering) -> float | None:
    """Grams of CO2 that go with an energy."""
    return None if joules is None else joules / JOULES_PER_KWH * settings.co2_per_kwh


def gpu_hours(parts: Iterable[Spending], gpus: int, seconds: float) -> float | None:
    """Hours of distinct GPUs; `None` where there are none.

    Args:
        parts: what every device used.
        gpus: the number of GPUs that workers say they hold, where none is among the parts.
        seconds: of the work.
    """
    held = [part.seconds for part in parts if part.kind == "gpu"]
    if held:
        return sum(held) / 3600.0
    return gpus * seconds / 3600.0 if gpus else None


def energy_of(parts: Sequence[Spending], settings: Metering) -> Energy:
    """The energy of some work, with stated powers where they are needed.

    Args:
        parts: what every device used, each once.
        settings: the powers that are stated.
    """
    joules, known, estimated = 0.0, False, False
    missing: list[Spending] = []
    ordered = sorted(parts, key=lambda part: part.host.key)
    for _, of_host in groupby(ordered, key=lambda part: part.host.key):
        host = list(of_host)
        gap = max(part.unknown for part in host)
        if settings.watts is not None and gap > 0:
            # While a part is not known, the stated power stands for all of them.
            share = 1 - gap / max(part.seconds for part in host)
            joules += settings.watts * gap + sum(outside_gap(part, share) for part in host)
            known = estimated = True
            continue
        powers = stated(host, settings)
        for part in host:
            watts = powers[part.kind]
            joules += part.joules + (watts or 0.0) * part.unknown
            known = known or watts is not None or not part.unknown or part.unknown < part.seconds
            estimated = estimated or (watts is not None and part.unknown > 0)
            missing += [part] if watts is None and part.unknown > 0 else []
    source: Literal["measured", "estimated"] = "estimated" if estimated else "measured"
    words = in_words(missing, several=len({part.host.key for part in parts}) > 1)
    if not known:
        return Energy(None, None, words or "nothing measures it")
    return Energy(joules, source, words)


def outside_gap(part: Spending, share: float) -> float:
    """The joules of a device in the time in which every device of its machine is known.

    Args:
        part: whose joules are those of the seconds that are known of it.
        share: of the time, in which all are known.
    """
    known = part.seconds - part.unknown
    return part.joules * min(1.0, share * part.seconds / known) if known > 0 else 0.0


def stated(host: Sequence[Spending], settings: Metering) -> Mapping[str, float | None]:
    """The power that is stated for each device of a host, by its kind."""
    packages = sum(part.kind == "cpu" for part in host)
    watts = settings.cpu_watts
    # It is stated for all processors of a machine.
    return {"cpu": None if watts is None else watts / max(packages, 1), "gpu": settings.gpu_watts}


def in_words(missing: Sequence[Spending], *, several: bool) -> str | None:
    """The devices that are not known, by reason.

    Args:
        missing: those devices.
        several: whether there is more than one host, so that they are named.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for part in missing:
        name = f"{part.device} of {part.host.name}" if several else part.device
        short = part.unknown < part.seconds
        groups[part.reason].append(f"{name} for {part.unknown:.1f} s" if short else name)
    return "; ".join(f"{enumerated(names)}: {why}" for why, names in groups.items()) or None


def enumerated(names: Sequence[str]) -> str:
    """Names in a row; the number of those that are too many."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def total(records: Sequence[Mapping[str, Any]], settings: Metering) -> dict[str, Any]:
    """The costs of a whole run from those of its parts.

    The energy is `None` if that of any part is, since it would be that of less work than the
    seconds are.

    Args:
        records: of the parts; those of earlier versions lack some fields.
        settings: what turns joules into grams.
    """
    seconds = sum(record["seconds"] for record in records)
    busy = joined_busy([record.get("busy") for record in records])
    hours = [record["gpu_hours"] for record in records if record.get("gpu_hours") is not None]
    room = sum(max(record.get("workers", 0), 1) * record["seconds"] for record in records)
    return {
        "seconds": seconds,
        **busy_record(busy, room),
        "gpu_hours": sum(hours) if hours else None,
        **total_energy(records).record(settings),
        "co2_g_per_kwh": settings.co2_per_kwh,
    }


def total_energy(records: Sequence[Mapping[str, Any]]) -> Energy:
    """The energy of a whole run from that of its parts."""
    joules = [record.get("energy_j") for record in records]
    sources = [record.get("energy_source", EARLIER) for record in records]
    reasons = [
        EARLIER if source == EARLIER else record.get("energy_missing")
        for source, record in zip(sources, records, strict=True)
    ]
    unknown = [why for why, each in zip(reasons, joules, strict=True) if each is None]
    if unknown or not records:
        return Energy(None, None, of_parts(unknown, len(records)) or "nothing measures it")
    joined = float(sum(each or 0.0 for each in joules))
    source: Literal["measured", "estimated"] = "estimated" if "estimated" in sources else "measured"
    return Energy(joined, source, of_parts(reasons, len(joules)))


def of_parts(reasons: Sequence[str | None], parts: int) -> str | None:
    """Reasons, and for how many of the parts of a run each holds, unless for all."""
    counts: dict[str, int] = defaultdict(int)
    for reason in reasons:
        if reason:
            counts[reason] += 1
    told = [
        reason if count == parts else f"{reason} (in {count} of {parts} parts of the run)"
        for reason, count in counts.items()
    ]
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return "; ".join([*told[:NAMED], *more]) or None


def joined_busy(parts: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Seconds by operation of all parts; `None` if any part has none."""
    joined: dict[str, float] = defaultdict(float)
    for part in parts:
        if part is None:
            return None
        for operation, seconds in part.items():
            joined[operation] += seconds
    return dict(joined)


def busy_record(busy: Mapping[str, float] | None, room: float) -> dict[str, Any]:
    """The fields of worker-busy seconds.

    A utilisation above 1 is a call that began before the part that counts it.

    Args:
        busy: by operation; `None` where nobody counts them.
        room: seconds that the workers were there, all together.
    """
    if busy is None:
        return {"busy": None, "busy_seconds": None, "utilisation": None}
    seconds = sum(busy.values())
    share = seconds / room if room > 0 else None
    return {"busy": dict(busy), "busy_seconds": seconds, "utilisation": share}
