"""Choice percentages over generations, and freezes (PCF-ES, section 3.1, Figures 2, 5, 12 to 14).

The percentage of a choice is the share of a generation's new architectures that have it in a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from raynas.report.drawing import Sheet, legend_below, new_sheet, short
from raynas.report.figures.cells import Cell, add_cells
from raynas.report.figures.thinning import spread, thinned_note
from raynas.report.palette import Style, light, style_of
from raynas.report.runs import ReportedRun

SHOWN = 80
"""Generations of a run that are shown, at most."""

COLUMNS = 4
"""Blocks side by side in one figure."""


@final
@dataclass(frozen=True, eq=False)
class Percentages:
    """The choice percentages of a run.

    Args:
        run: whose they are.
        generations: that are shown, counted from 0: those that brought in architectures.
        blocks: for each block `float64[generations, choices]`, from 0 to 100.
    """

    run: ReportedRun
    generations: tuple[int, ...]
    blocks: tuple[np.ndarray, ...]

    @property
    def note(self) -> str:
        """Words on generations that are left out."""
        filled = sum(bool(each["population"]) for each in self.run.generations)
        return thinned_note(len(self.generations), filled)

    @cached_property
    def styles(self) -> Mapping[str, Style]:
        """The look of each name of a choice."""
        return styles_of(self.run)


def styles_of(run: ReportedRun) -> dict[str, Style]:
    """The look of each name of a choice: the same in all blocks."""
    names = dict.fromkeys(name for own in run.names for name in own)
    return {name: style_of(index) for index, name in enumerate(names)}


def percentages_of(run: ReportedRun) -> Percentages:
    """Count the choices of each generation's new architectures."""
    filled = [each for each in run.generations if each["population"]]
    chosen = [filled[place] for place in spread(len(filled), SHOWN)]
    shares = [np.zeros((len(chosen), len(own))) for own in run.names]
    for row, generation in enumerate(chosen):
        census = np.array([each["architecture"] for each in generation["population"]])
        for block, share in enumerate(shares):
            counts = np.bincount(census[:, block], minlength=share.shape[1])
            share[row] = 100.0 * counts / len(census)
    return Percentages(run, tuple(each["generation"] for each in chosen), tuple(shares))


def draw_overview(shown: Percentages) -> Sheet:
    """A cell for each block and generation: its majority choice, the stronger the more have it."""
    run, blocks = shown.run, len(shown.blocks)
    sheet = new_sheet(
        f"majority-{run.key}",
        f"Majority choice of each block over the generations, {run.label}{shown.note}",
        (5.0, min(8.5, 1.5 + 0.21 * blocks)),
        run.key,
    )
    axes = sheet.figure.add_subplot()
    axes.grid(visible=False)
    draw_cells(sheet, axes, shown)
    draw_frontier(sheet, axes, run)
    axes.set(
        xlim=(0.5, max(1, len(run.generations)) + 0.5), ylim=(blocks + 0.5, 0.5),
        xlabel="generation", ylabel="block",
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles: list[Artist] = [
        Patch(color=style.colour, label=short(name)) for name, style in shown.styles.items()
    ]
    if run.freezes:
        handles.insert(0, Line2D([], [], color=light("ink"), linewidth=2.2, label="frozen above"))
    legend_below(sheet, handles)
    return sheet


def draw_cells(sheet: Sheet, axes: Axes, shown: Percentages) -> None:
    """The cells of an overview, and the names of the last choices beside them."""
    run, cells = shown.run, []
    for row, (generation, width) in enumerate(widths_of(shown)):
        left, right = generation + 0.5, generation + width + 0.5
        for block, shares in enumerate(shown.blocks):
            best = int(shares[row].argmax())
            share, name = float(shares[row, best]), run.names[block][best]
            tip = (
                f"block {block + 1}, generation {generation + 1}\n"
                f"{name}: {share:.0f} %{frozen_note(run, block, generation)}"
            )
            cells.append(Cell(block, left, right, shown.styles[name].colour, share / 100.0, tip))
    add_cells(sheet, axes, run, cells)
    # In print, and for whoever tells few colours apart: the names of the last column.
    for block, shares in enumerate(shown.blocks):
        name = run.names[block][int(shares[-1].argmax())]
        axes.text(len(run.generations) + 0.6, block + 1, name, va="center", fontsize=8.5)


def widths_of(shown: Percentages) -> Iterator[tuple[int, int]]:
    """The generations that are shown, and how many columns each stands for."""
    ends = [*shown.generations[1:], shown.generations[-1] + 1] if shown.generations else []
    for generation, end in zip(shown.generations, ends, strict=True):
        yield generation, end - generation


def frozen_note(run: ReportedRun, block: int, generation: int) -> str:
    """A word on a block that was frozen by then."""
    since = frozen_since(run, block)
    return "" if since is None or generation < since else f", frozen since generation {since + 1}"


def frozen_since(run: ReportedRun, block: int) -> int | None:
    """The generation, counted from 0, that began with this block frozen; `None` if none did."""
    return next((generation for generation, now in run.freezes if now > block), None)


def held_since(run: ReportedRun, architecture: Sequence[int], block: int) -> int | None:
    """The generation, counted from 0, whose prefix an architecture has up to a block, if any.

    An architecture from before a freeze may have a frozen choice, and not be behind the prefix.
    """
    since = frozen_since(run, block)
    if since is None or run.generations[since]["prefix"][: block + 1] != list(
        architecture[: block + 1]
    ):
        return None
    return since


def draw_frontier(sheet: Sheet, axes: Axes, run: ReportedRun) -> None:
    """The line below the frozen blocks."""
    if not run.freezes:
        return
    counts = [len(generation["prefix"]) for generation in run.generations]
    edges = np.arange(len(counts) + 1) + 0.5
    first = run.freezes[0][0]
    line = axes.step(
        edges[first:], [*(count + 0.5 for count in counts[first:]), counts[-1] + 0.5],
        where="post", color=light("ink"), linewidth=2.2,
    )[0]  # fmt: skip
    axes.vlines(edges[first], 0.5, counts[first] + 0.5, color=light("ink"), linewidth=2.2)
    sheet.mark(line, run.key)


def draw_blocks(shown: Percentages) -> Sheet:
    """The curves of all blocks in one figure, for a file."""
    run, blocks = shown.run, len(shown.blocks)
    columns = min(COLUMNS, blocks)
    rows = -(-blocks // columns)
    sheet = new_sheet(
        f"choices-{run.key}",
        f"Choice percentages, {run.label}{shown.note}",
        (2.3 * columns, 1.9 * rows + 0.7),
    )
    grid = sheet.figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for block, axes in enumerate(grid.flat):
        if block < blocks:
            draw_block(sheet, axes, shown, block)
        else:
            axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("generation")
    for axes in grid[:, 0]:
        axes.set_ylabel("subnets (%)")
    handles: list[Artist] = [
        Line2D(
            [], [], color=look.colour, linestyle=look.line, marker=look.marker, label=short(name)
        )
        for name, look in shown.styles.items()
    ]
    if run.freezes:
        handles.insert(0, freeze_handle())
    legend_below(sheet, handles)
    return sheet


def draw_panels(shown: Percentages) -> Iterator[Sheet]:
    """The curves of each block in a small figure of its own, for a page of any width."""
    for block in range(len(shown.blocks)):
        sheet = new_sheet(
            f"block-{shown.run.key}-{block + 1}",
            f"Choice percentages of block {block + 1}, {shown.run.label}",
            (2.5, 1.9),
            shown.run.key,
            fitted=False,
        )
        axes = sheet.figure.add_axes((0.14, 0.13, 0.80, 0.73))
        draw_block(sheet, axes, shown, block)
        yield sheet


def freeze_handle() -> Line2D:
    """The entry of freezes in a legend."""
    return Line2D(
        [], [], color=light("ink"), linestyle=(0, (1, 1)), linewidth=1.4, label="block frozen"
    )


def draw_block(sheet: Sheet, axes: Axes, shown: Percentages, block: int) -> None:
    """A curve for each choice of a block, and the moment of its freeze."""
    run = shown.run
    numbers = [generation + 1 for generation in shown.generations]
    since = frozen_since(run, block)
    for choice, name in enumerate(run.names[block]):
        look = shown.styles[name]
        shares = shown.blocks[block][:, choice]
        (curve,) = axes.plot(
            numbers, shares, color=look.colour, linestyle=look.line, marker=look.marker,
            markersize=3.2, linewidth=1.3, markeredgewidth=0, clip_on=False,
        )  # fmt: skip
        tips = [
            f"block {block + 1}, generation {number}\n{name}: {share:.0f} %"
            for number, share in zip(numbers, shares, strict=True)
        ]
        sheet.mark(curve, run.key, tips)
    if since is not None:
        axes.axvline(since + 1, color=light("ink"), linestyle=(0, (1, 1)), linewidth=1.4)
    frozen = "" if since is None else f", frozen at {since + 1}"
    axes.set_title(f"block {block + 1}{frozen}", fontsize=9.5)
    last = len(run.generations)
    axes.set(ylim=(-2, 102), xlim=(0.6, max(last, 1) + 0.4), yticks=(0, 50, 100))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8.5)
