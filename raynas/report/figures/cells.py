"""Cells in rows of a figure, the stronger the more they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

from raynas.report.drawing import Sheet
from raynas.report.runs import ReportedRun


@final
class Cell(NamedTuple):
    """One cell, a row high.

    Args:
        row: counted from 0; the first is drawn around 1.
        left, right: its ends along the other axis.
        colour: at full strength.
        strength: from 0, invisible, to 1.
        tip: what the page says of it.
    """

    row: int
    left: float
    right: float
    colour: str
    strength: float
    tip: str


def add_cells(sheet: Sheet, axes: Axes, run: ReportedRun, cells: Sequence[Cell]) -> None:
    """Draw the cells of a run; the limits of the axes stay as they are."""
    corners = []
    for cell in cells:
        low, high = cell.row + 0.5, cell.row + 1.5
        corners.append([(cell.left, low), (cell.right, low), (cell.right, high), (cell.left, high)])
    colours = [to_rgba(cell.colour, cell.strength) for cell in cells]
    drawn = PolyCollection(corners, facecolors=colours, edgecolors="none", linewidths=0)
    axes.add_collection(drawn, autolim=False)
    sheet.mark(drawn, run.key, [cell.tip for cell in cells])
