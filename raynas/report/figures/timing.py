"""The time of each generation by part (PCF-ES, Figure 7), and of whole runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from raynas.files import Record
from raynas.report.drawing import Sheet, legend_below, new_sheet
from raynas.report.figures.thinning import spread, thinned_note
from raynas.report.palette import light, style_of
from raynas.report.runs import ReportedRun
from raynas.report.units import energy_text, is_finite, seconds_text

BARS = 120
"""Generations of a run that have a bar, at most."""

SHORTER = 3
"""The ratio of the longest run to others that share its axis of generations, at most."""

EDGED = 40
"""Bars that have edges, at most: of more, the edges would be most of what is seen."""

WAITING = "waiting and driver"
FREEZING = "freezing and selecting"
EVALUATING = "scoring and all else"

ORDER = ("calibrate", "score", "advance", "gather", "end", WAITING, FREEZING, EVALUATING)
"""Parts whose look is the same in all figures; others follow."""

PARTS: Mapping[str, str] = {
    "calibrate": "calibrating batch norm",
    "score": "scoring",
    "advance": "advancing shards",
    "gather": "selecting samples",
}
"""Operations of workers in plain words."""


def parts_of(metrics: Record) -> dict[str, float]:
    """The seconds of a generation, or of a whole run, by part: they add up to its wall time.

    Where workers counted what they were busy with, its mean over the workers; the rest is waiting,
    and the driver's own work. Elsewhere what the driver knows: freezing, and the rest.
    """
    seconds = float(metrics["seconds"])
    busy = metrics.get("busy")
    if isinstance(busy, dict) and all(is_finite(each) for each in busy.values()):
        counted = metrics.get("workers")
        workers = max(counted, 1) if is_finite(counted) else 1
        parts = {name: each / workers for name, each in busy.items() if each > 0}
        return {**parts, WAITING: max(0.0, seconds - sum(parts.values()))}
    freezing = metrics.get("freeze_seconds")
    if not is_finite(freezing):
        return {EVALUATING: seconds}
    return {FREEZING: freezing, EVALUATING: max(0.0, seconds - freezing)}


@final
@dataclass(frozen=True)
class Bar:
    """The bar of a generation.

    Args:
        number: of the generation, counted from 1.
        parts: seconds by part.
        energy: joules, as they were recorded; `None` where they are not known.
    """

    number: int
    parts: Mapping[str, float]
    energy: float | None = None


def bars_of(run: ReportedRun) -> list[Bar]:
    """The bars of a run, fewer than its generations if those are many."""
    timed = sorted(run.timings)
    chosen = [timed[place] for place in spread(len(timed), BARS)]
    return [
        Bar(number + 1, parts_of(run.timings[number]), run.timings[number].get("energy_j"))
        for number in chosen
    ]


def ordered(parts: Sequence[str]) -> list[str]:
    """Parts in the order in which they are drawn."""
    known = [name for name in ORDER if name in parts]
    return [*known, *sorted(set(parts) - set(known))]


def draw_timings(runs: Sequence[ReportedRun]) -> Iterator[Sheet]:
    """One figure for each run that has timings, all with one scale of time."""
    bars = {run.key: bars_of(run) for run in runs}
    tops = [sum(bar.parts.values()) for each in bars.values() for bar in each]
    highest = max(tops, default=0.0) or 1.0
    last = max((bar.number for each in bars.values() for bar in each), default=1)
    for run in runs:
        if own := bars[run.key]:
            # Of a run that is much shorter than the others, little could be seen on their axis.
            length = last if last <= SHORTER * own[-1].number else own[-1].number
            yield draw_timing(run, own, highest, length)


def draw_timing(run: ReportedRun, bars: Sequence[Bar], highest: float, last: int) -> Sheet:
    """The time of each generation of a run, as stacked bars."""
    note = thinned_note(len(bars), len(run.timings))
    title = f"Time per generation, {run.label}{note}"
    sheet = new_sheet(f"time-{run.key}", title, (5.0, 3.0), run.key)
    axes = sheet.figure.add_subplot()
    names = ordered([name for bar in bars for name in bar.parts])
    bottoms = [0.0] * len(bars)
    handles = []
    for index, name in enumerate(names):
        handles.append(stack(sheet, axes, run, bars, (name, index), bottoms))
        heights = [bar.parts.get(name, 0.0) for bar in bars]
        bottoms = [low + height for low, height in zip(bottoms, heights, strict=True)]
    axes.set(xlim=(0.2, last + 0.8), ylim=(0, 1.04 * highest), xlabel="generation")
    axes.set_ylabel("wall time (s)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=False, axis="x")
    legend_below(sheet, handles)
    return sheet


def stack(
    sheet: Sheet,
    axes: Axes,
    run: ReportedRun,
    bars: Sequence[Bar],
    part: tuple[str, int],
    bottoms: Sequence[float],
) -> Patch:
    """The areas of one part of all bars, and their entry in the legend."""
    name, index = part
    look = style_of(ORDER.index(name) if name in ORDER else len(ORDER) + index)
    corners = []
    # A bar that stands for several generations is as wide as they are.
    half = 0.4 * max(1.0, run_length(bars))
    for bar, low in zip(bars, bottoms, strict=True):
        left, right, top = bar.number - half, bar.number + half, low + bar.parts.get(name, 0.0)
        corners.append([(left, low), (right, low), (right, top), (left, top)])
    areas = PolyCollection(
        corners, facecolors=look.colour, edgecolors=light("surface"), hatch=look.hatch,
        linewidths=0.5 if len(bars) <= EDGED else 0.0,
    )  # fmt: skip
    axes.add_collection(areas, autolim=False)
    sheet.mark(areas, run.key, [tip_of(bar, name) for bar in bars])
    return Patch(
        facecolor=look.colour, edgecolor=light("surface"), hatch=look.hatch,
        label=PARTS.get(name, name),
    )  # fmt: skip


def run_length(bars: Sequence[Bar]) -> float:
    """The number of generations, on average, from one bar to the next."""
    return (bars[-1].number - bars[0].number) / max(len(bars) - 1, 1)


def tip_of(bar: Bar, part: str) -> str:
    """One part of a bar in a few lines."""
    whole, seconds = sum(bar.parts.values()), bar.parts.get(part, 0.0)
    share = seconds / whole if whole else 0.0
    lines = [
        f"generation {bar.number}: {seconds_text(whole)}",
        f"{PARTS.get(part, part)}: {seconds_text(seconds)} ({share:.0%})",
        *([energy_text(bar.energy)] if is_finite(bar.energy) else []),
    ]
    return "\n".join(lines)
