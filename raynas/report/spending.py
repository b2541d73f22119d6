"""The time and the energy of a run, and the parts that they went to, as texts of a page."""

from __future__ import annotations

from typing import Any

from raynas.report.facts import total
from raynas.report.figures.timing import PARTS, ordered, parts_of
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
    final_seconds = (run.result or {}).get("final_seconds")
    parts = [(PARTS.get(name, name), sums[name]) for name in ordered(list(sums))]
    if is_finite(final_seconds):
        parts.append(("finalists in full, and the test", final_seconds))
    whole = sum(seconds for _, seconds in parts)
    return [
        (name, seconds_text(seconds), f"{seconds / whole:.0%}" if whole else UNKNOWN)
        for name, seconds in parts
    ]


def consumed(run: ReportedRun) -> list[tuple[str, str]]:
    """Totals of a run: time, work, energy and carbon, or why they are not known."""
    # Of a search that has not ended, the last generation says how it is measured.
    result = run.result or (run.records.metrics[-1] if run.records.metrics else {})
    energy = total(run, "energy_j")
    source, missing = result.get("energy_source"), result.get("energy_missing")
    energy_told = energy_text(energy) if is_finite(energy) else "not measured"
    if source:
        energy_told += f" ({source})"
    if missing:
        energy_told += f"; {missing}"
    share = result.get("utilisation")
    per_kwh = result.get("co2_g_per_kwh")
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
        ("energy", energy_told),
        ("CO₂", mass_text(carbon) + at),
    ]
    return [(name, value) for name, value in rows if value not in (UNKNOWN, "")]


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
