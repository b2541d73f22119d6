"""A search from the command line: with progress, its result exported and reported."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raynas
from raynas.commands import terminal
from raynas.commands.live import search_view
from raynas.commands.program import one_line
from raynas.commands.terminal import shown_safely
from raynas.errors import InputError
from raynas.evolution import Strategy
from raynas.observers import join_observers
from raynas.tracking import MlflowTracking

if TYPE_CHECKING:
    from rich.console import Console

    from raynas.export import Exported
    from raynas.generation import Observer
    from raynas.result import SearchResult

REPORT = "report.html"
"""The report of a search, in its run directory, or of several, in the one above."""


def search_and_show(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    run_dir: Path,
    *,
    mlflow: str | None = None,
    **options: Any,
) -> None:
    """Search with progress, print the result and export the best subnet to `run_dir/best`.

    Args:
        supernet, data, strategy, run_dir, options: as those of `raynas.search`.
        mlflow: the URI of an MLflow server or store that the search is tracked in.

    Raises:
        InputError: as `raynas.search`, `MlflowTracking` and `export_best`.
    """
    screen = terminal.make_console()
    with ExitStack() as stack:
        if mlflow is not None:
            tracking = stack.enter_context(MlflowTracking(mlflow, run_dir))
            options["observer"] = tracking
        result = search_with_progress(screen, supernet, data, strategy, run_dir, **options)
        screen.print(terminal.result_table(result.record))
        if len(result.front) > 1:
            screen.print(terminal.front_table(result.record))
        screen.print(f"Records: {run_dir}, best subnet: {run_dir / 'best'}", soft_wrap=True)
        export_best(result, run_dir / "best")
        report_runs(screen, [run_dir], run_dir / REPORT)


def search_with_progress(
    screen: Console,
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    run_dir: Path,
    observer: Observer | None = None,
    **options: Any,
) -> SearchResult:
    """Search, and show each generation on a screen; options are those of `raynas.search`.

    An observer is told of a generation when it has been shown.

    Raises:
        InputError: as `raynas.search`.
    """
    with search_view(screen, strategy.generations) as view:
        return raynas.search(
            supernet,
            data,
            strategy=strategy,
            run_dir=run_dir,
            observer=join_observers(view.generation, observer),
            call_observer=view.call_observer,
            **options,
        )


def export_best(result: SearchResult, directory: Path) -> None:
    """Export the best subnet of a search; what torch cannot write of it is told in one line.

    The search itself is fine then, so that this is no error.

    Raises:
        InputError: nothing of it could be written there.
    """
    from raynas.export import PartialExportError

    try:
        warn_of_refused([result.export(directory)])
    except PartialExportError as error:
        print(f"warning: {one_line(error)}", file=sys.stderr)


def warn_of_refused(made: Iterable[Exported]) -> None:
    """Say in one line each what could not be written of networks, which are fine otherwise."""
    refused = [f"{name} ({reason})" for each in made for name, reason in each.refused.items()]
    for told in dict.fromkeys(refused):
        print(f"warning: not written: {shown_safely(told)}", file=sys.stderr)


def report_runs(screen: Console, run_dirs: Sequence[Path], page: Path) -> None:
    """Write the report of finished searches, and say where it is.

    The searches themselves are fine where it cannot be written: that is told in one line.
    """
    from raynas.report.page import write_report

    try:
        written = write_report(run_dirs, page)
    except InputError as error:
        print(f"warning: {one_line(error)}", file=sys.stderr)
        return
    screen.print(f"Report: {written.page}", soft_wrap=True)
