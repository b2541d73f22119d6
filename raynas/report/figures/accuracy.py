"""Accuracy over generations, of several runs (PCF-ES, Figure 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from raynas.files import Record
from raynas.report.drawing import Sheet, legend_below, named, new_sheet, short
from raynas.report.figures.thinning import spread
from raynas.report.palette import light, style_of
from raynas.report.runs import ReportedRun, first_objective, scores_of
from raynas.report.units import axis_name, is_finite, plain_name, scaled, score_text

MARKED = 200
"""Generations of a run that have a marker, at most."""


def draw_accuracies(runs: Sequence[ReportedRun]) -> Iterator[Sheet]:
    """One figure for each objective that any of the runs maximises."""
    objectives = dict.fromkeys(run.objective for run in runs if run.objective)
    for number, objective in enumerate(objectives):
        sheet = new_sheet(
            f"accuracy-{number}" if number else "accuracy",
            f"Best {plain_name(objective)} of each run over the generations",
        )
        axes = sheet.figure.add_subplot()
        for index, run in enumerate(runs):
            if run.objective == objective:
                draw_run(sheet, axes, run, index)
        axes.set_xlabel("generation")
        axes.set_ylabel(f"best {axis_name(objective)}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(sheet, [line for line in axes.get_lines() if named(line)])
        yield sheet


def draw_run(sheet: Sheet, axes: Axes, run: ReportedRun, index: int) -> None:
    """The best score after each generation as a line; generations that froze blocks are filled."""
    objective = run.objective
    assert objective is not None
    look = style_of(index)
    points = [
        (generation, scaled(objective, best[objective]))
        for generation in run.generations
        if is_finite((best := generation.get("best") or {}).get(objective))
    ]
    numbers = [generation["generation"] + 1 for generation, _ in points]
    values = [value for _, value in points]
    (line,) = axes.plot(
        numbers, values, color=look.colour, linestyle=look.line, marker=look.marker, markevery=[],
        markerfacecolor=light("surface"), label=short(run.label),
    )  # fmt: skip
    sheet.mark(line, run.key)
    freezing = {generation for generation, _ in run.freezes}
    for filled in (False, True):
        own = [
            place
            for place in spread(len(points), MARKED)
            if (points[place][0]["generation"] in freezing) == filled
        ]
        if own:
            (marks,) = axes.plot(
                [numbers[place] for place in own], [values[place] for place in own],
                linestyle="none", marker=look.marker, color=look.colour, zorder=3,
                markerfacecolor=look.colour if filled else light("surface"), label="_",
            )  # fmt: skip
            sheet.mark(marks, run.key, [tip_of(run, points[place][0]) for place in own])


def tip_of(run: ReportedRun, generation: Record) -> str:
    """One generation in a few lines."""
    objective = run.objective
    assert objective is not None
    scored = [
        each[objective]
        for each in scores_of(generation)
        if first_objective(each) == objective and is_finite(each[objective])
    ]
    lines = [
        run.label,
        f"generation {generation['generation'] + 1}",
        f"best {score_text(objective, generation['best'][objective])}",
        *([f"median {score_text(objective, median(scored))}"] if scored else []),
        f"{len(generation['prefix'])} of {len(run.names)} blocks frozen",
    ]
    return "\n".join(lines)
