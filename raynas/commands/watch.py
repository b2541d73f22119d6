"""`raynas watch`: a search that goes on elsewhere, shown from its records."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tyro.conf import Positional

from raynas.commands import terminal
from raynas.commands.live import SearchView, clock_time, search_view
from raynas.errors import InputError, is_number, require
from raynas.report.liveness import Liveness, liveness_of
from raynas.report.read import RunRecords, read_run, shortfalls


def watch(
    run_dir: Positional[Path],
    follow: bool = True,
    every: float = 1.0,
) -> None:
    """Show a search that goes on elsewhere, or has finished, from its records alone.

    Args:
        run_dir: of the search; nothing in it is written or locked.
        follow: go on until the search ends, or Ctrl-C.
        every: the seconds between two looks.
    """
    require(
        is_number(every) and 0.0 < every < float("inf"),
        "every",
        "a number of seconds above 0",
        every,
        "Use 1.",
    )
    with known_records(run_dir):
        show_run(run_dir, (lambda: time.sleep(every)) if follow else None)


def show_run(run_dir: Path, pause: Callable[[], None] | None) -> None:
    """Show a search on the terminal.

    Args:
        run_dir: of the search.
        pause: waits between two looks; only one is taken if omitted.
    """
    records = read_run(run_dir)
    screen = terminal.make_console()
    screen.print(introduction(records), soft_wrap=True)
    with search_view(screen, records.config.get("strategy", {}).get("generations")) as view:
        if pause is not None:
            records = follow_run(view, run_dir, pause)
        else:
            show_new(view, records, 0)
            if not has_ended(records):
                view.say(state_of(liveness_of(records, time.time())))
    if records.finished:
        screen.print(terminal.result_table(records.require_result()))
        for problem in shortfalls(records):
            print(f"warning: {terminal.shown_safely(problem)}", file=sys.stderr)


@contextmanager
def known_records(run_dir: Path) -> Iterator[None]:
    """Raise `InputError` where records have other fields than those of this version."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            "run_dir",
            "records as this version of raynas writes them",
            f"others in {run_dir}: {what_differs(error)}",
            "Use the version that wrote them.",
        ) from error


def what_differs(error: Exception) -> str:
    """The reason why records cannot be shown, in words."""
    if isinstance(error, KeyError):
        return f"one without the field {error.args[0]}"
    return "one with a field of another kind"


def follow_run(view: SearchView, run_dir: Path, pause: Callable[[], None]) -> RunRecords:
    """Show generations as they are recorded, until the search ends; its last records.

    Args:
        view: where to.
        run_dir: of the search.
        pause: waits between two looks.

    Raises:
        InputError: the directory is gone, or its records are damaged.
    """
    shown, said = 0, False
    while True:
        records = read_run(run_dir)
        show_new(view, records, shown)
        if has_ended(records):
            return records
        shown = len(records.generations)
        signs = liveness_of(records, time.time())
        if signs.seems_dead and not said:
            view.say(state_of(signs))
        said = signs.seems_dead
        view.doing(in_brief(signs))
        pause()


def show_new(view: SearchView, records: RunRecords, shown: int) -> None:
    """Show the generations behind those that are shown already."""
    timings = {metrics["generation"]: metrics for metrics in records.metrics}
    silence = liveness_of(records, time.time()).silence
    for record in records.generations[shown:]:
        view.generation(record, timings.get(record["generation"], {}), silence)


def has_ended(records: RunRecords) -> bool:
    """Whether a search has ended; one with a scorer of the user's writes no result."""
    last = records.generations[-1:]
    return records.finished or (
        "evaluator" in records.config and bool(last) and last[0]["finished"] is not None
    )


def introduction(records: RunRecords) -> str:
    """One line on what is searched, and whether it has finished already."""
    config = records.config
    strategy = config.get("strategy", {}).get("strategy", "a search")
    on = (config.get("data") or config.get("evaluator") or {}).get("name")
    what = f"{strategy}{f' on {on}' if on else ''}, seed {config.get('seed')}"
    ended = ", already finished" if has_ended(records) else ""
    return f"{records.directory}: {what}{ended}"


def in_brief(signs: Liveness) -> str:
    """Signs of life in a few words."""
    who = "" if signs.writer is None else f", process {signs.writer}"
    return f"last record {clock_time(signs.silence)} ago{who}"


def state_of(signs: Liveness) -> str:
    """Signs of life in a sentence."""
    if signs.writer is not None:
        return f"under way: process {signs.writer} writes; {in_brief(signs)}"
    if signs.seems_dead:
        return (
            f"seems dead: {in_brief(signs)}, its longest generation took {signs.usual:.1f} s, and "
            "nobody is seen to write; --resume continues it, unless it runs on another machine"
        )
    return (
        f"{in_brief(signs)}; nobody on this machine is seen to write: it may run on another, or "
        "have been interrupted"
    )
