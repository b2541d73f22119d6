"""What a person sees in a terminal: progress while a supernet is trained and searched, tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from raynas.runlog import Record
from raynas.space import encode

if TYPE_CHECKING:
    from raynas.generation import Observer
    from raynas.training import EpochReport, StepReport


EPOCH_LINES = 10
"""About how many epochs of a training are told where there is no bar."""


def make_console() -> Console:
    """The terminal; wide enough for the tables where the output is not a terminal.

    Texts are shown as they are: a path may hold square brackets and colons.
    """
    width = None if sys.stdout.isatty() else 110
    return Console(width=width, highlight=False, markup=False, emoji=False)


class TrainingProgress:
    """Shows a training: a bar in a terminal, a line for every tenth of it elsewhere.

    Args:
        console: where to.
        progress: the bar, already started.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("training", total=None, text="")

    def step(self, report: StepReport) -> None:
        """Move the bar by a step."""
        done = (report.epoch - 1) * report.steps + report.step
        text = (
            f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.3f}  "
            f"{report.images_per_second:,.0f} images/s"
        )
        total = report.epochs * report.steps
        self._progress.update(self._task, completed=done, total=total, text=text)

    def epoch(self, report: EpochReport) -> None:
        """Say how the epoch went, where there is no bar; about ten times in a training."""
        due = report.epoch % max(1, report.epochs // EPOCH_LINES) == 0
        if not self._console.is_terminal and (due or report.epoch in (1, report.epochs)):
            self._console.print(
                f"epoch {report.epoch:3d}/{report.epochs}  loss {report.loss:.4f}  "
                f"accuracy {report.accuracy:6.2%}  {report.images_per_second:,.0f} images/s"
            )


@contextmanager
def training_progress(console: Console) -> Iterator[TrainingProgress]:
    """Progress for the time of a training."""
    with make_bar(console) as bar:
        yield TrainingProgress(console, bar)


@contextmanager
def search_progress(console: Console, generations: int) -> Iterator[Observer]:
    """An observer that prints a line per generation, under a bar in a terminal."""
    with make_bar(console) as bar:
        task = bar.add_task("searching", total=generations, text="starting workers")

        def observe(record: Record, metrics: Record) -> None:
            console.print(generation_line(record, metrics), soft_wrap=True)
            number = record["generation"] + 1
            text = record["finished"] or f"generation {number} of {generations}"
            bar.update(task, completed=number, text=text)

        yield observe


def make_bar(console: Console) -> Progress:
    """A bar that disappears when it is done, and that only a terminal shows."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def generation_line(record: Record, metrics: Record) -> str:
    """One generation in one line."""
    scored = (*record["rescored"], *record["population"])
    best = record["best"]
    parts = [
        f"generation {record['generation'] + 1:3d}",
        f"best {best['top1']:7.2%}" if best else "nothing scored",
        f"frozen {record['frozen']:2d}",
        f"{len(scored):3d} candidates on {record['samples']} images",
    ]
    if metrics:
        parts.append(f"{metrics['seconds']:6.2f} s")
    broken = sum(not score["finite"] for score in scored)
    notes = [
        *([f"{broken} with logits that are not finite"] if broken else []),
        *([f"freeze refused: {record['refused']}"] if record["refused"] else []),
        *([record["finished"]] if record["finished"] else []),
    ]
    return "  ".join(parts) + (f"  ({'; '.join(notes)})" if notes else "")


def result_table(record: Record) -> Table:
    """The result of a search as a table; `record` is the content of `result.json`."""
    speedup = record["suffix_speedup"]
    broken = record["not_finite"]
    skipped = record["skipped_images"]
    energy = record["energy_j"]
    count = record["legal_architectures"]
    legal = "uncounted" if count is None else f"{count:,}"
    rows: list[tuple[str, Any]] = [
        ("architecture", encode(tuple(record["architecture"]))),
        ("validation top-1 / top-5", f"{record['top1']:.2%} / {record['top5']:.2%}"),
        ("test top-1 (held out)", share(record["test_top1"])),
        ("FLOPs (multiply-adds)", f"{record['flops']:,}"),
        ("parameters", f"{record['params']:,}"),
        ("strategy", record["strategy"]),
        ("ended by", record["finished"]),
        ("frozen blocks by generation", " ".join(str(count) for count in record["frozen"])),
        (
            "evaluations",
            f"{record['evaluations']:,} of {legal} legal architectures",
        ),
        *([("of them with logits that are not finite", f"{broken:,}")] if broken else []),
        *([("images skipped as unreadable", f"{skipped:,}")] if skipped else []),
        ("seconds", f"{record['seconds']:.1f}"),
        (
            "speed-up of suffix-only evaluation",
            "nothing was frozen" if speedup is None else f"{speedup:.2f}× per candidate",
        ),
        ("energy", "not measurable here" if energy is None else f"{energy:,.0f} J"),
        ("workers", "none, in this process" if not record["workers"] else record["workers"]),
    ]
    table = Table(title="Search result", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def share(value: float | None) -> str:
    """A share in per cent, or that it was not measured."""
    return "not measured" if value is None else f"{value:.2%}"
