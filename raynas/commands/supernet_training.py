"""Training a supernet once, with progress, and filling it from its file afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raynas
from raynas import training
from raynas.commands import terminal
from raynas.commands.paths import PathsName, greedy_summary, open_paths, progressive_summary
from raynas.commands.pool_file import pool_of, write_pool
from raynas.errors import InputError, require
from raynas.files import require_writable
from raynas.task import classification_or
from raynas.training.greedy import GreedyPaths
from raynas.training.progressive_paths import ProgressivePaths

if TYPE_CHECKING:
    from rich.console import Console


def adjust(preset: raynas.TrainingSettings, **changes: Any) -> raynas.TrainingSettings:
    """Training settings with some changes; the warm-up is at most a tenth, unless it is changed.

    Raises:
        InputError: a setting out of range.
    """
    epochs = changes.get("epochs", preset.epochs)
    warmup = max(0.0, min(preset.warmup_epochs, epochs / 10))
    return replace(preset, **{"warmup_epochs": warmup, **changes})


def train_or_load(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
    task: raynas.Task | None = None,
    *,
    paths: PathsName = "uniform",
    workers: int | None = 0,
    filter_samples: int | None = None,
    greedy: Mapping[str, Any] | None = None,
    progressive: Mapping[str, Any] | None = None,
) -> None:
    """Fill a supernet from a file; if there is none, train it, showing progress, and write it.

    An interrupted training goes on from the checkpoint beside the file. The pool of a greedy one,
    and the accuracy table of a progressive one, are written there, too. Of several processes that
    train together, the first reads and writes.

    Args:
        supernet, data, settings, task: as those of `raynas.training.train`.
        weights: the file.
        paths: which paths are trained: uniform, uniform-constraint, fair, greedy or progressive.
        workers: that score greedy and progressive ones; 0 for this process.
        filter_samples: about how many validation samples greedy ones are compared on.
        greedy: settings of greedy ones; see `GreedySettings`.
        progressive: settings of progressive ones; see `ProgressiveSettings`.

    Raises:
        InputError: weights that do not fit or cannot be written there, or a data set without
            training images.
    """
    from raynas.training.processes import Processes

    processes, screen = Processes.current(), terminal.make_console()
    if processes.agree(weights.exists):
        processes.in_first(partial(reuse, supernet, weights))
        screen.print(f"Supernet: reusing {weights}", soft_wrap=True)
        return
    require(
        data.train is not None,
        "data",
        "a data set with training images",
        data.name,
        "Load it with its training images, or give a trained checkpoint.",
    )
    assert data.train is not None
    processes.in_first(partial(require_room, weights))
    objective = classification_or(task, supernet.num_classes).objectives[0]
    scoring: dict[str, Any] = {"workers": workers, "filter_samples": filter_samples}
    scoring |= {"greedy": greedy, "progressive": progressive}
    opening = open_paths(paths, supernet, data, settings, task=task, **scoring)
    with ExitStack() as opened:
        sampler = processes.in_first(partial(opened.enter_context, opening))
        screen.print(
            f"Supernet: training {supernet.space.count():,} architectures on {len(data.train):,} "
            f"samples of {data.name}",
            soft_wrap=True,
        )
        with terminal.training_progress(screen, objective) as progress:
            options: dict[str, Any] = {"task": task, "paths": sampler}
            options |= {"observer": progress.epoch, "step_observer": progress.step}
            progressively = paths == "progressive"
            train = training.train_progressively if progressively else training.train
            reports = train(
                supernet, data.train, settings, checkpoint=checkpoint_of(weights), **options
            )
    processes.in_first(
        partial(write_trained, weights, supernet, sampler, screen, (len(reports), settings.epochs))
    )
    screen.print(summary(reports, objective, weights), soft_wrap=True)


def reuse(supernet: raynas.ChainSupernet, weights: Path) -> None:
    """Fill a supernet from the file that a training would write.

    Raises:
        InputError: weights of another supernet, or a file of something else; it stays as it is.
    """
    try:
        raynas.supernets.load(supernet, weights)
    except InputError as error:
        remedy = "Write to another file (--out), or train the supernet that this one is of."
        raise InputError("out", f"a new file, or {error.expected}", error.got, remedy) from error


def summary(reports: Sequence[training.EpochReport], objective: str, weights: Path) -> str:
    """One line about a training that has ended.

    Args:
        reports: of its epochs.
        objective: the name of the first one.
        weights: the file that was written.
    """
    seconds = sum(report.seconds for report in reports)
    name, value = terminal.training_score(objective, reports[-1].accuracy)
    return (
        f"Supernet: {len(reports)} epochs in {seconds:.0f} s, training {name} of random paths "
        f"{value.strip()}; saved to {weights}"
    )


def write_trained(
    weights: Path,
    supernet: raynas.ChainSupernet,
    sampler: raynas.training.PathSampler | None,
    screen: Console,
    epochs: tuple[int, int],
) -> None:
    """Write the weights, and beside them what the sampler of the paths has found out.

    Args:
        weights: the file.
        supernet: trained.
        sampler: of its paths.
        screen: is told of them.
        epochs: those that were trained, and those that were asked for.
    """
    if isinstance(sampler, GreedyPaths):
        write_pool(weights, supernet, sampler)
        screen.print(f"Supernet: {greedy_summary(sampler, *epochs)}", soft_wrap=True)
    if isinstance(sampler, ProgressivePaths):
        table = sampler.table()
        table.save(table_of(weights))
        screen.print(f"Supernet: {progressive_summary(table)}", soft_wrap=True)
    # The weights come last: where they are, there is nothing left to write.
    raynas.supernets.save(supernet, weights)
    checkpoint_of(weights).unlink(missing_ok=True)


def checkpoint_of(weights: Path) -> Path:
    """The checkpoint of an unfinished training, beside the file of its weights."""
    return weights.with_name(f"{weights.name}.training.pt")


def table_of(weights: Path) -> Path:
    """The file beside the weights that holds the accuracy table of a progressive training."""
    return weights.with_name(f"{weights.name}.table.json")


def require_room(weights: Path) -> None:
    """Raise `InputError` unless weights, their checkpoint, a pool and a table can be written."""
    beside = (checkpoint_of(weights), pool_of(weights), table_of(weights))
    require_writable("out", weights, *(each.name for each in beside))
