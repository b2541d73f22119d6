"""The architecture that was found, drawn as a chain of named blocks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import FancyBboxPatch

from raynas.report.drawing import Sheet, new_sheet
from raynas.report.figures.choices import Percentages, held_since
from raynas.report.palette import light
from raynas.report.runs import ReportedRun

PER_ROW = 8
"""Blocks side by side, at most."""


def draw_chain(run: ReportedRun, architecture: Sequence[int], shown: Percentages) -> Sheet:
    """One box for each block, with the name of its choice and the generation of its freeze."""
    blocks = len(architecture)
    rows = -(-blocks // PER_ROW)
    columns = -(-blocks // rows)
    sheet = new_sheet(
        f"architecture-{run.key}",
        f"The architecture that {run.label} found",
        (0.3 + 0.9 * columns, 0.35 + 0.95 * rows),
        run.key,
    )
    axes = sheet.figure.add_subplot()
    axes.set_axis_off()
    for block, choice in enumerate(architecture):
        row, column = divmod(block, columns)
        name = run.names[block][choice]
        box = FancyBboxPatch(
            (column, -row), 0.74, 0.5, boxstyle="round,pad=0.02,rounding_size=0.06",
            facecolor="none", edgecolor=shown.styles[name].colour, linewidth=2,
        )  # fmt: skip
        axes.add_patch(box)
        # Seven letters have room at this size; longer names are written smaller.
        size = min(10.0, 70.0 / max(len(name), 1))
        axes.text(column + 0.37, 0.25 - row, name, ha="center", va="center", fontsize=size)
        since = held_since(run, architecture, block)
        under = block + 1 if since is None else f"{block + 1}, frozen at {since + 1}"
        axes.text(
            column + 0.37, -0.16 - row, str(under), ha="center", va="center", fontsize=7.5,
            color=light("muted"),
        )  # fmt: skip
        if block + 1 < blocks:
            end = (column + 0.96, 0.25 - row)
            axes.annotate(
                "", end, (column + 0.78, 0.25 - row),
                arrowprops={"arrowstyle": "->", "color": light("muted")},
            )  # fmt: skip
    axes.set(xlim=(-0.1, columns), ylim=(0.65 - rows, 0.7))
    return sheet
