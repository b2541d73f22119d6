"""Output for a person at a terminal: progress while a supernet is trained, and tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from raynas.files import Record
from raynas.report.units import SECONDS, cost_text
from raynas.score import objective_text
from raynas.space import encode

if TYPE_CHECKING:
    from raynas.training import EpochReport, StepReport


EPOCH_LINES = 10
"""The number of epochs of a training, roughly, that are told where there is no bar."""


CONTROLS = {code: "?" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Characters that command a terminal, and what is shown for each."""


def shown_safely(text: str) -> str:
    """A text without commands to a terminal: records and files of others may hold any."""
    return text.translate(CONTROLS)


@final
class SafeConsole(Console):
    """A terminal that plain strings cannot command; texts of rich are written as they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string, as every string that is printed becomes one."""
        return super().render_str(shown_safely(text), **options)


def make_console() -> Console:
    """The terminal; wide enough for the tables where the output is not a terminal.

    Texts are shown as they are: a path may hold square brackets and colons.
    """
    width = None if sys.stdout.isatty() else 110
    return SafeConsole(width=width, highlight=False, markup=False, emoji=False)


@final
class TrainingProgress:
    """Shows a training: a bar in a terminal, a line for every tenth of it elsewhere.

    Args:
        console: where to.
        progress: the bar, already started.
        objective: the name of the task's first objective.
    """

    def __init__(self, console: Console, progress: Progress, objective: str) -> None:
        self._console = console
        self._progress = progress
        self._objective = objective
        self._task = progress.add_task("training", total=None, text="")

    def step(self, report: StepReport) -> None:
        """Move the bar by a step."""
        done = (report.epoch - 1) * report.steps + report.step
        text = (
            f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.3f}  "
            f"{report.images_per_second:,.0f} samples/s"
        )
        total = report.epochs * report.steps
        self._progress.update(self._task, completed=done, total=total, text=text)

    def epoch(self, report: EpochReport) -> None:
        """Say how the epoch went, where there is no bar; about ten times in a training."""
        due = report.epoch % max(1, report.epochs // EPOCH_LINES) == 0
        if not self._console.is_terminal and (due or report.epoch in (1, report.epochs)):
            self._console.print(
                f"epoch {report.epoch:3d}/{report.epochs}  loss {report.loss:.4f}  "
                f"{' '.join(training_score(self._objective, report.accuracy))}  "
                f"{report.images_per_second:,.0f} samples/s"
            )


def training_score(objective: str, value: float) -> tuple[str, str]:
    """The name and the value of what is maximised: a share in per cent, or a number."""
    return ("accuracy", f"{value:6.2%}") if objective == "top1" else (objective, f"{value:.4f}")


@contextmanager
def training_progress(console: Console, objective: str = "top1") -> Iterator[TrainingProgress]:
    """Progress for the time of a training.

    Args:
        console: where to.
        objective: the name of the task's first objective.
    """
    with make_bar(console, TimeRemainingColumn()) as bar:
        yield TrainingProgress(console, bar, objective)


def make_bar(console: Console, *more: ProgressColumn) -> Progress:
    """A bar that disappears when it is done, and that only a terminal shows.

    Args:
        console: the terminal.
        more: columns behind the time that has passed.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        *more,
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def result_table(record: Record) -> Table:
    """The result of a search as a table; `record` is the content of `result.json`."""
    count = record["legal_architectures"]
    legal = "an unknown number of" if count is None else f"{count:,}"
    broken = record["not_finite"]
    skipped = record["skipped_images"]
    rows: list[tuple[str, Any]] = [
        ("architecture", encode(tuple(record["architecture"]))),
        ("its choices", " ".join(record["names"])),
        *score_rows(record),
        ("FLOPs (multiply-adds)", f"{record['flops']:,}"),
        ("parameters", f"{record['params']:,}"),
        *other_costs(record),
        ("strategy", record["strategy"]),
        ("ended by", record["finished"]),
        ("frozen blocks by generation", " ".join(str(count) for count in record["frozen"])),
        ("evaluations", f"{record['evaluations']:,} of {legal} legal architectures"),
        *([("of them with outputs that are not finite", f"{broken:,}")] if broken else []),
        *([("images skipped as unreadable", f"{skipped:,}")] if skipped else []),
        ("seconds", f"{record['seconds']:.1f}"),
        *energy_rows(record),
        ("workers", "none, in this process" if not record["workers"] else record["workers"]),
    ]
    table = Table(title="Search result", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def energy_rows(record: Record) -> list[tuple[str, str]]:
    """The energy of a search and how it is known, and the CO2 that goes with it."""
    joules, missing = record.get("energy_j"), record.get("energy_missing")
    if joules is None:
        return [("energy", f"not measurable here{f' ({missing})' if missing else ''}")]
    estimated = record.get("energy_source") == "estimated"
    words = f"{joules:,.0f} J"
    words = f"about {words}, estimated from the stated power" if estimated else words
    rows = [("energy", words + (f"; not in it: {missing}" if missing else ""))]
    if record.get("co2_g") is not None:
        intensity = f"{record['co2_g_per_kwh']:g} g/kWh"
        rows.append(("CO2", f"{record['co2_g']:,.3g} g, at {intensity}"))
    return rows


def front_table(record: Record) -> Table:
    """The members of a front, the best first objective first."""
    costs = list(record["costs"])
    table = Table(title="Front")
    for column in ("architecture", *record["objectives"][:1], *map(cost_heading, costs)):
        table.add_column(column, justify="left" if column == "architecture" else "right")
    for member in record["front"]:
        shown = objective_text(record["objectives"][0], member[record["objectives"][0]])
        names = " ".join(member["names"])
        table.add_row(names, shown, *(cost_cell(n, member["costs"][n]) for n in costs))
    return table


def cost_heading(name: str) -> str:
    """The name of a cost above its numbers, with their unit if they have one."""
    return f"{name} (ms)" if name == SECONDS else name


def cost_cell(name: str, cost: float) -> str:
    """A cost below its name; seconds in milliseconds."""
    return cost_text(name, cost) if name == SECONDS else f"{cost:,}"


def named_cost(name: str, cost: float) -> str:
    """A cost behind its name in a line: `latency 0.58 ms`."""
    return f"{name} {cost_cell(name, cost)}{' ms' if name == SECONDS else ''}"


def other_costs(record: Record) -> list[tuple[str, str]]:
    """The costs that a limit names beside FLOPs and parameters."""
    return [
        (cost_heading(name), cost_cell(name, cost))
        for name, cost in record["costs"].items()
        if name not in ("flops", "params")
    ]


def score_rows(record: Record) -> list[tuple[str, str]]:
    """The winner's objectives on the validation and the test split."""
    if record["objectives"] == ["top1", "top5"]:
        return [
            ("validation top-1 / top-5", f"{record['top1']:.2%} / {record['top5']:.2%}"),
            ("test top-1 (held out)", share(record["test_top1"])),
        ]
    rows = []
    for name in record["objectives"]:
        tested = record[f"test_{name}"]
        rows += [
            (f"validation {name}", f"{record[name]:.4f}"),
            (f"test {name} (held out)", "not measured" if tested is None else f"{tested:.4f}"),
        ]
    return rows


def share(value: float | None) -> str:
    """A share in per cent, or that it was not measured."""
    return "not measured" if value is None else f"{value:.2%}"
