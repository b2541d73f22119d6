"""Accuracy against each cost of everything that was scored, and the Pareto fronts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from raynas.files import Record
from raynas.report.drawing import Sheet, legend_below, named, new_sheet, short
from raynas.report.figures.thinning import spread
from raynas.report.palette import light, style_of
from raynas.report.runs import ReportedRun, scores_of
from raynas.report.units import (
    SECONDS,
    axis_name,
    cost_phrase,
    is_finite,
    multiple,
    plain_name,
    scaled,
    score_text,
)

POINTS = 1500
"""Points of a figure, at most, beside those of the fronts."""


@final
@dataclass(frozen=True, eq=False)
class Scored:
    """Everything that a run has scored and that has a cost, but for what is not finite.

    Args:
        run: whose it is.
        values: `float64[n]` objective, as an axis shows it.
        costs: `float64[n]`.
        whole: `bool[n]` whether it was scored on the whole validation split.
        places: `int64[n, 2]` the generation, and the place in it; the generation after the last one
            is the end, where finalists are scored in full.
    """

    run: ReportedRun
    values: np.ndarray
    costs: np.ndarray
    whole: np.ndarray
    places: np.ndarray

    @property
    def front(self) -> np.ndarray:
        """The rows that no other one dominates, of those on the whole split, the cheapest first."""
        import moocore

        rows = np.flatnonzero(self.whole)
        if len(rows) == 0:
            return rows
        points = np.column_stack([-self.values[rows], self.costs[rows]])
        best = rows[moocore.is_nondominated(points)]
        return best[np.argsort(self.costs[best], kind="stable")]

    def record(self, row: int) -> Record:
        """The recorded score of a row."""
        return scores_at(self.run, int(self.places[row, 0]))[int(self.places[row, 1])]


def scores_at(run: ReportedRun, generation: int) -> list[Record]:
    """The scores of a generation, or those of the finalists in full behind the last one."""
    if generation < len(run.generations):
        return scores_of(run.generations[generation])
    return list((run.result or {}).get("finalists", ()))


def scored_by(run: ReportedRun, objective: str, cost: str) -> Scored:
    """Collect what a run has scored, with one of its costs."""
    rows: list[tuple[float, float, bool, int, int]] = []
    for generation in range(len(run.generations) + 1):
        ended = generation == len(run.generations)
        whole = ended or run.generations[generation].get("selection") is None
        for place, each in enumerate(scores_at(run, generation)):
            value, price = each.get(objective), each.get("costs", {}).get(cost)
            if is_finite(value) and is_finite(price) and each.get("finite", True):
                rows.append((scaled(objective, value), price, whole, generation, place))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    places = table[:, 3:].astype(np.int64)
    return Scored(run, table[:, 0], table[:, 1], table[:, 2].astype(bool), places)


def costs_of(run: ReportedRun) -> tuple[str, ...]:
    """The names of the costs that scores of a run have."""
    scored = (each for generation in run.generations for each in scores_of(generation))
    return tuple(next(scored, {}).get("costs", {}))


def draw_costs(runs: Sequence[ReportedRun]) -> Iterator[tuple[Sheet, int, int]]:
    """One figure for each objective and cost.

    Yields:
        The figure, how many scores there are, and how many of them it shows.
    """
    pairs = dict.fromkeys(
        (run.objective, cost) for run in runs if run.objective for cost in costs_of(run)
    )
    for number, (objective, cost) in enumerate(pairs):
        assert objective is not None
        found = [(index, scored_by(run, objective, cost)) for index, run in enumerate(runs)]
        known = [(index, scored) for index, scored in found if len(scored.values)]
        if not known:
            continue
        sheet = new_sheet(
            f"cost-{number}", f"{plain_name(objective)} against {plain_name(cost)}", (5.0, 3.7)
        )
        axes = sheet.figure.add_subplot()
        size, letter = multiple([float(scored.costs.max()) for _, scored in known])
        if cost == SECONDS:
            size, letter = 1e-3, "ms"
        shown = 0
        for index, scored in known:
            rows = np.array(spread(len(scored.values), max(1, POINTS // len(known))))
            shown += len(rows)
            draw_scored(sheet, axes, scored, index, rows, size, (objective, cost))
        unit = f" ({letter})" if letter else ""
        axes.set(xlabel=f"{plain_name(cost)}{unit}", ylabel=axis_name(objective))
        # More labels of small numbers would touch each other.
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.plot([], [], color=light("muted"), marker=".", linestyle="none", label="scored")
        axes.plot([], [], color=light("muted"), marker="*", markersize=11, linestyle="none",
                  label="winner")  # fmt: skip
        legend_below(sheet, [line for line in axes.get_lines() if named(line)])
        yield sheet, sum(len(scored.values) for _, scored in known), shown


def draw_scored(
    sheet: Sheet,
    axes: Axes,
    scored: Scored,
    index: int,
    rows: np.ndarray,
    size: float,
    axis: tuple[str, str],
) -> None:
    """Everything that a run has scored as faint points, and its front as a stepped line."""
    look, run = style_of(index), scored.run
    for whole in (True, False):
        own = rows[scored.whole[rows] == whole]
        if len(own):
            (points,) = axes.plot(
                scored.costs[own] / size, scored.values[own], linestyle="none", marker=look.marker,
                markersize=3.4, alpha=0.45, color=look.colour, label="_", zorder=1.5,
                markerfacecolor=look.colour if whole else "none", markeredgewidth=0.7,
            )  # fmt: skip
            sheet.mark(points, run.key, [tip_of(scored, row, *axis) for row in own])
    front = scored.front
    if len(front):
        (line,) = axes.plot(
            scored.costs[front] / size, scored.values[front], drawstyle="steps-post",
            color=look.colour, linestyle=look.line, marker=look.marker, markersize=5.5,
            markeredgecolor=light("surface"), markeredgewidth=0.6, zorder=2.5,
            label=f"front, {short(run.label)}",
        )  # fmt: skip
        sheet.mark(line, run.key, [f"{tip_of(scored, row, *axis)}\non the front" for row in front])
    draw_winner(sheet, axes, scored, index, size, axis)


def draw_winner(
    sheet: Sheet, axes: Axes, scored: Scored, index: int, size: float, axis: tuple[str, str]
) -> None:
    """A star where the winner is, under the full protocol."""
    result, (objective, cost) = scored.run.result or {}, axis
    value, price = result.get(objective), result.get("costs", {}).get(cost)
    if is_finite(value) and is_finite(price):
        (star,) = axes.plot(
            [price / size], [scaled(objective, value)], marker="*", markersize=15, linestyle="none",
            color=style_of(index).colour, markeredgecolor=light("ink"), label="_", zorder=4,
        )  # fmt: skip
        told = [
            scored.run.label,
            f"winner: {score_text(objective, value)}, {cost_phrase(cost, price)}",
            " ".join(map(str, result.get("names", ()))),
        ]
        sheet.mark(star, scored.run.key, ["\n".join(told)])


def tip_of(scored: Scored, row: int, objective: str, cost: str) -> str:
    """One score in a few lines."""
    record, run = scored.record(row), scored.run
    generation = int(scored.places[row, 0])
    when = (
        "at the end, in full"
        if generation == len(run.generations)
        else f"generation {generation + 1}"
    )
    names = [own[choice] for own, choice in zip(run.names, record["architecture"], strict=False)]
    on = "" if scored.whole[row] else f" on {record.get('samples', 'some')} selected samples"
    return "\n".join(
        [
            f"{run.label}, {when}",
            f"{score_text(objective, record[objective])}{on}, "
            + cost_phrase(cost, record["costs"][cost]),
            " ".join(names),
        ]
    )
