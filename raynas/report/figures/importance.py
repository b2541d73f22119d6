"""The importance of samples for different subnets, where samples were selected (Figure 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from raynas.files import Record
from raynas.report.drawing import Sheet, new_sheet
from raynas.report.figures.cells import Cell, add_cells
from raynas.report.palette import light
from raynas.report.runs import ReportedRun
from raynas.report.units import is_finite

FIELDS = ("samples", "kept", "subnets", "ranks", "losses", "kept_shares")
"""Fields of the record that evaluations leave; see `raynas.evaluation.importance`."""


def selections_of(run: ReportedRun) -> Iterator[tuple[int, Record]]:
    """The generations, counted from 0, whose samples were selected, and what was recorded of it."""
    for number, metrics in sorted(run.timings.items()):
        found = metrics.get("importance")
        if isinstance(found, dict) and is_whole(found):
            yield number, found


def is_whole(found: Record) -> bool:
    """Whether a record holds what a figure needs."""
    if any(name not in found for name in FIELDS):
        return False
    places = len(found["ranks"])
    rows: Sequence[Any] = [found["kept_shares"], *found["losses"]]
    return (
        places > 0
        and len(rows) > 1
        and all(len(row) == places and all(map(is_finite, row)) for row in rows)
    )


def draw_importances(run: ReportedRun) -> Iterator[Sheet]:
    """One figure for each selection of samples of a run."""
    for number, found in selections_of(run):
        yield draw_importance(run, number, found)


def draw_importance(run: ReportedRun, number: int, found: Record) -> Sheet:
    """The losses of subnets on samples of every importance, above the share of them that is kept.

    With one subnet its losses are a curve; with several each has a row of cells.
    """
    several = len(found["losses"]) > 1
    sheet = new_sheet(
        f"importance-{run.key}-{number + 1}",
        f"Importance of samples, selected in generation {number + 1}, {run.label}",
        (5.0, 3.9),
        run.key,
    )
    upper, lower = sheet.figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    edges = np.array([*found["ranks"], found["samples"]], dtype=np.float64)
    if several:
        draw_rows(sheet, upper, run, found, edges)
    else:
        draw_curve(sheet, upper, run, found)
    draw_kept(sheet, lower, run, found, edges)
    lower.set_xlabel("validation samples, by mean loss, the largest first")
    lower.set_xlim(0, found["samples"])
    return sheet


def draw_rows(sheet: Sheet, axes: Axes, run: ReportedRun, found: Record, edges: np.ndarray) -> None:
    """A cell for each subnet and sample, the stronger, the larger its share of the losses."""
    losses = np.array(found["losses"], dtype=np.float64)
    totals = losses.sum(axis=1, keepdims=True)
    shares = np.divide(losses, totals, out=np.zeros_like(losses), where=totals > 0)
    top = shares.max() or 1.0
    cells = []
    for row in range(len(shares)):
        for place in range(shares.shape[1]):
            strength = float(shares[row, place] / top) ** 0.5
            tip = (
                f"subnet {row + 1}, sample of rank {found['ranks'][place] + 1}\n"
                f"loss {losses[row, place]:.4g}"
            )
            cells.append(Cell(row, edges[place], edges[place + 1], light("c0"), strength, tip))
    add_cells(sheet, axes, run, cells)
    axes.grid(visible=False)
    axes.set(ylim=(0.5, len(shares) + 0.5), ylabel="subnet (stronger: larger loss)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def draw_curve(sheet: Sheet, axes: Axes, run: ReportedRun, found: Record) -> None:
    """The losses of the one subnet that was scored."""
    losses = found["losses"][0]
    (curve,) = axes.plot(
        found["ranks"], losses, color=light("c0"), marker="o", markersize=3.4, linewidth=1.3
    )
    tips = [
        f"sample of rank {rank + 1}\nloss {loss:.4g}"
        for rank, loss in zip(found["ranks"], losses, strict=True)
    ]
    sheet.mark(curve, run.key, tips)
    axes.set_ylabel("loss of one subnet")
    axes.set_ylim(bottom=min(0.0, *losses))


def draw_kept(sheet: Sheet, axes: Axes, run: ReportedRun, found: Record, edges: np.ndarray) -> None:
    """The share of samples of each importance that is kept."""
    shares = [100.0 * share for share in found["kept_shares"]]
    corners = [
        [(left, 0), (right, 0), (right, share), (left, share)]
        for left, right, share in zip(edges, edges[1:], shares, strict=False)
    ]
    bars = PolyCollection(
        corners, facecolors=light("c1"), edgecolors=light("surface"), linewidths=0.4
    )
    axes.add_collection(bars, autolim=False)
    tips = [
        f"samples {int(left) + 1} to {int(right)}\n{share:.0f} % kept"
        for left, right, share in zip(edges, edges[1:], shares, strict=False)
    ]
    sheet.mark(bars, run.key, tips)
    axes.set(ylim=(0, 104), ylabel="kept (%)")
