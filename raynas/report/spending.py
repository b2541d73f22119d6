"""The time and the energy of a run, and the parts that they went to, as texts of a page."""

from __future__ import annotations

from typing import Any

from raynas.metering.bills import of_parts
from raynas.report.facts import priced, replays_of, total
from raynas.report.figures.timing import PARTS, ordered, parts_of, workers_of
from raynas.report.runs import ReportedRun
from raynas.report.units import (
    UNKNOWN,
    count_text,
    energy_text,
    is_finite,
    mass_text,
    seconds_text,
)


def spent(run: ReportedRun) -> list[tuple[str, str, str]]:
    """The parts that time went to: the name of each, its time, and its share of the whole."""
    sums: dict[str, float] = {}
    for metrics in run.records.metrics:
        for name, seconds in parts_of(metrics).items():
            sums[name] = sums.get(name, 0.0) + seconds
    parts = [(PARTS.get(name, name), sums[name]) for name in ordered(list(sums))]
    if (replay := replay_seconds(run)) > 0:
        parts.append(("reading records back to resume", replay))
    final_seconds = (run.result or {}).get("final_seconds")
    if is_finite(final_seconds):
        parts.append(("finalists in full, and the test", final_seconds))
    whole = sum(seconds for _, seconds in parts)
    return [
        (name, seconds_text(seconds), f"{seconds / whole:.0%}" if whole else UNKNOWN)
        for name, seconds in parts
    ]


def consumed(run: ReportedRun) -> list[tuple[str, str]]:
    """Totals of a run: time, work, energy and carbon, or why they are not known."""
    share = utilisation(run)
    per_kwh = (run.result or {}).get("co2_g_per_kwh")
    carbon = total(run, "co2_g")
    at = f" at {count_text(per_kwh)} g/kWh" if is_finite(per_kwh) and is_finite(carbon) else ""
    rows = [
        ("wall time", seconds_text(total(run, "seconds"))),
        ("workers busy", seconds_text(total(run, "busy_seconds"))),
        ("utilisation", f"{share:.0%}" if is_finite(share) else UNKNOWN),
        ("workers", workers_text(run)),
        ("blocks executed, times samples", count_text(total_forwards(run))),
        ("scores known already", count_text(sum_of(run, "known"))),
        ("GPU hours", count_text(total(run, "gpu_hours"))),
        ("energy", energy_in_words(run)),
        ("CO₂", mass_text(carbon) + at),
    ]
    return [(name, value) for name, value in rows if value not in (UNKNOWN, "")]


def replay_seconds(run: ReportedRun) -> float:
    """The seconds in which records were read back to resume a run."""
    known = (run.result or {}).get("replay_seconds")
    return known if is_finite(known) else sum(each["seconds"] for each in replays_of(run))


def utilisation(run: ReportedRun) -> Any:
    """The share of the workers' time that they were busy; `None` where nobody counted."""
    if run.result is not None:
        return run.result.get("utilisation")
    busy = total(run, "busy_seconds")
    room = sum(workers_of(each) * each["seconds"] for each in priced(run))
    return busy / room if is_finite(busy) and room > 0 else None


def energy_in_words(run: ReportedRun) -> str:
    """The energy of a run, how it is known, and what is not in it and why."""
    parts = priced(run) if run.result is None else [run.result]
    energy = total(run, "energy_j")
    sources = [each["energy_source"] for each in parts if each.get("energy_source")]
    reasons = [str(each.get("energy_missing") or "") for each in parts]
    missing = of_parts(reasons, len(parts))
    if not is_finite(energy):
        return f"not measured; {missing}" if missing else "not measured"
    text = energy_text(energy)
    if sources:
        text += f" ({'estimated' if 'estimated' in sources else sources[-1]})"
    return f"{text}; not in it: {missing}" if missing else text


def sum_of(run: ReportedRun, name: str) -> Any:
    """The sum of a metric over the generations that have it."""
    values = [each[name] for each in run.records.metrics if is_finite(each.get(name))]
    return sum(values) if values else None


def total_forwards(run: ReportedRun) -> Any:
    """The blocks that were executed in the generations, times samples; `None` if none were."""
    return sum_of(run, "block_forwards") or None


def workers_text(run: ReportedRun) -> str:
    """The number of workers; several numbers if a run was resumed with others."""
    counts = dict.fromkeys(
        str(each["workers"]) for each in run.records.metrics if "workers" in each
    )
    shown = ["none, in the driver" if count == "0" else count for count in counts]
    return ", then ".join(shown)
