"""The live view of a search: a line for each generation, above bars for what is under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from raynas.commands.generation_rows import (
    COLUMNS,
    fitting,
    generation_row,
    heading,
    known_columns,
)
from raynas.commands.pace import Pace
from raynas.files import Record
from raynas.generation import generation_line, notes_of

if TYPE_CHECKING:
    from raynas.workers.call_progress import CallObserver, CallProgress

GROWING = ("known", "shared", "joules")
"""Columns that are shown from the first generation on that has a content for them."""

REFRESHES = 8
"""Drawings of the bars in a second."""

NARROWEST, WIDEST = 8, 30
"""The cells of a bar."""


@final
@dataclass(frozen=True)
class Bar:
    """One bar, and what is told beside it.

    Args:
        spinner: before it.
        label: what it is of.
        share: how far it is filled; one that only moves where none is known.
        left: the time that is left, in words.
        text: what is under way, or done.
    """

    spinner: RenderableType
    label: str
    share: float | None
    left: str
    text: str

    def cells(self, widths: Sequence[int]) -> list[RenderableType]:
        """The cells that have a width."""
        bar = ProgressBar(
            total=1.0,
            completed=min(self.share or 0.0, 1.0),
            width=widths[2],
            pulse=self.share is None,
        )
        cells = (self.spinner, self.label, bar, self.left, self.text)
        return [cell for cell, width in zip(cells, widths, strict=True) if width]


@final
class SearchView:
    """Shows a search: rows and bars in a terminal, a plain line for each generation elsewhere.

    Args:
        console: where to.
        generations: the limit of the search; `None` where it is not known.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        console: Console,
        generations: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._generations = generations
        self._pace = Pace(generations, clock)
        self._shown = {name for name in COLUMNS if name not in GROWING}
        self._headed: list[str] = []
        self._done = 0
        self._finished = False
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._doing = "starting workers"
        self.live = console.is_terminal and not console.is_dumb_terminal

    @property
    def call_observer(self) -> CallObserver | None:
        """The observer of the workers' calls; `None` where nothing would be shown of them."""
        return self._calls if self.live else None

    def generation(self, record: Record, metrics: Record, ago: float = 0.0) -> None:
        """Show a generation that has ended, so many seconds `ago`."""
        self._pace.generation(record, metrics, ago)
        self._done = record["generation"] + 1
        self._finished = record["finished"] is not None
        self._doing = "scoring the finalists" if self._finished else "proposing"
        if self.live:
            self._row(record, metrics)
        else:
            self._console.print(generation_line(record, metrics), soft_wrap=True)

    def doing(self, text: str) -> None:
        """Show what is under way, in a few words."""
        self._doing = text

    def say(self, text: str) -> None:
        """Print a sentence above the bars."""
        self._console.print(text, soft_wrap=not self.live)

    def bars(self) -> RenderableType:
        """The bars as they are now, each in one line."""
        here = "final scores" if self._finished else f"generation {self._done + 1}"
        left, elapsed = self._pace.generation_left, self._pace.elapsed
        share = None if left is None else elapsed / max(elapsed + left, 1e-9)
        bars = [Bar(self._spinner, here, share, told_left(left), self._doing)]
        if self._generations is not None and not self._finished:
            share, left = self._done / self._generations, self._pace.search_left
            of = f"{self._done} of {self._generations} generations"
            bars.append(Bar("", "search", share, told_left(left, "at most "), of))
        widths = cell_widths(self._console.width)
        grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        for width in filter(None, widths):
            grid.add_column(width=width, no_wrap=True, overflow="ellipsis")
        for bar in bars:
            grid.add_row(*bar.cells(widths))
        return grid

    def _row(self, record: Record, metrics: Record) -> None:
        """Print a row, below the headings where these have changed, and what is to be noted."""
        self._shown |= known_columns(record, metrics)
        names = fitting(self._shown, self._console.width)
        print_row = self._console.print
        if names != self._headed:
            print_row(heading(names), no_wrap=True, overflow="crop", crop=True)
            self._headed = names
        only = self._console.options.ascii_only
        row = generation_row(names, record, metrics, ascii_only=only)
        print_row(row, no_wrap=True, overflow="crop", crop=True)
        for note in notes_of(record):
            print_row(f"      {note}")

    def _calls(self, progress: CallProgress) -> None:
        self._pace.calls(progress)
        self._doing = f"{progress.operation} {progress.done}/{progress.planned}"


def cell_widths(width: int) -> list[int]:
    """The widths of spinner, label, bar, time and text in a terminal; 0 where there is no room.

    Gaps of one cell lie between them, and the last three of the terminal stay empty: the `^C` that
    it shows would begin another line, and the bars could not be taken away.
    """
    widths = [1, 13, min(WIDEST, max(NARROWEST, width - 71)), 18, 0]
    while True:
        shown = [each for each in widths if each]
        left = width - sum(shown) - len(shown) - 3
        if left >= 0 or len(shown) == 2:
            break
        widths[len(shown) - 1] = 0
    # A text of a few cells says nothing.
    return [*widths[:4], left if widths[3] and left > 5 else 0]


def told_left(seconds: float | None, about: str = "") -> str:
    """The time that is left in words; empty where it is not known."""
    return "" if seconds is None else f"{about}{clock_time(seconds)} left"


def clock_time(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours, minutes and seconds: `0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def search_view(console: Console, generations: int | None) -> Iterator[SearchView]:
    """A view for the time of a search; its bars disappear at the end.

    Args:
        console: where to.
        generations: the limit of the search; `None` where it is not known.
    """
    view = SearchView(console, generations)
    if not view.live:
        yield view
        return
    with Live(
        console=console,
        refresh_per_second=REFRESHES,
        transient=True,
        # What goes to a file stays out of the terminal.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),
        get_renderable=view.bars,
    ):
        yield view
