"""Observers of a search: of its generations, and of the calls inside them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.errors import require
from raynas.files import Record
from raynas.generation import Observer, generation_line

if TYPE_CHECKING:
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.workers.call_progress import CallObserver


def join_observers(*observers: Observer | None) -> Observer:
    """An observer that tells all that are given.

    Raises:
        InputError: one that cannot be called.
    """
    given: list[Callable[[Record, Record], None]] = [each for each in observers if each]
    for each in given:
        require(
            callable(each),
            "observer",
            "a function of a generation's record and metrics",
            repr(each),
            "Give a function of two arguments.",
        )

    def notify(record: Record, metrics: Record) -> None:
        # Copies for each: the search goes on with its own, whatever is done with these.
        for each in given:
            each(copy.deepcopy(record), copy.deepcopy(metrics))

    return notify


def require_call_observer(observer: CallObserver | None) -> None:
    """Raise `InputError` unless it can be called, or is not given."""
    require(
        observer is None or callable(observer),
        "call_observer",
        "a function of a raynas.workers.call_progress.CallProgress",
        repr(observer),
        "Give a function of one argument.",
    )


def attach(
    evaluator: PopulationEvaluator,
    run_dir: Path,
    observer: Observer,
    call_observer: CallObserver | None,
) -> Observer:
    """Tell an observer of an evaluator's calls; the observer of the generations to be scored.

    Args:
        evaluator: of the search.
        run_dir: of the search, by which its workers show it.
        observer: of generations; told before those who watch the workers.
        call_observer: of calls, if any.
    """
    evaluator.watch(call_observer)
    return join_observers(observer, partial(evaluator.publish, str(run_dir)))


def print_generation(record: Record, metrics: Record) -> None:
    """Print one generation in one line."""
    print(generation_line(record, metrics), flush=True)
