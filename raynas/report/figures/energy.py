"""The energy of each generation, of several runs, where it is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.ticker import MaxNLocator

from raynas.report.drawing import Sheet, legend_below, named, new_sheet, short
from raynas.report.figures.thinning import spread
from raynas.report.palette import light, style_of
from raynas.report.runs import ReportedRun
from raynas.report.units import energy_text, is_finite, multiple, seconds_text

MARKED = 200
"""Generations of a run that are shown, at most."""


def draw_energies(runs: Sequence[ReportedRun]) -> Iterator[Sheet]:
    """One figure of all runs whose generations have energies; none where no run has."""
    known = [(index, run, energies) for index, run in enumerate(runs) if (energies := of_run(run))]
    if not known:
        return
    sheet = new_sheet("energy", "Energy of each generation")
    axes = sheet.figure.add_subplot()
    size, letter = multiple([energy for _, _, each in known for energy in each.values()])
    for index, run, energies in known:
        look = style_of(index)
        every = list(energies)
        numbers = [every[place] for place in spread(len(every), MARKED)]
        (line,) = axes.plot(
            [number + 1 for number in numbers], [energies[number] / size for number in numbers],
            color=look.colour, linestyle=look.line, marker=look.marker,
            markerfacecolor=light("surface"), label=short(run.label),
        )  # fmt: skip
        sheet.mark(line, run.key, [tip_of(run, number) for number in numbers])
    axes.set(xlabel="generation", ylabel=f"energy ({letter}J)")
    axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(sheet, [line for line in axes.get_lines() if named(line)])
    yield sheet


def of_run(run: ReportedRun) -> dict[int, float]:
    """The joules of generations, counted from 0, as far as they are known."""
    every = {number: metrics.get("energy_j") for number, metrics in sorted(run.timings.items())}
    return {number: energy for number, energy in every.items() if is_finite(energy)}


def tip_of(run: ReportedRun, number: int) -> str:
    """The energy of a generation in a few lines."""
    metrics = run.timings[number]
    source = metrics.get("energy_source")
    told = f"{energy_text(metrics['energy_j'])}{f' ({source})' if source else ''}"
    lines = [
        run.label,
        f"generation {number + 1}",
        f"{told} in {seconds_text(metrics['seconds'])}",
        *([f"not in it: {metrics['energy_missing']}"] if metrics.get("energy_missing") else []),
    ]
    return "\n".join(lines)
