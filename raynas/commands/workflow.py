"""The workflow of experiments and commands: train once, search with progress, show, export."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import tyro

import raynas
from raynas.commands import terminal
from raynas.commands.options import given
from raynas.errors import InputError, require
from raynas.evolution import CFES, EA, PCFES, RandomSearch, Strategy
from raynas.runlog import CONFIG, RESULT

StrategyName = Literal["ea", "random", "cf", "pcf"]


STRATEGIES: Mapping[str, type[Strategy]] = {
    "ea": EA,
    "random": RandomSearch,
    "cf": CFES,
    "pcf": PCFES,
}


def choose_strategy(name: StrategyName, options: Any) -> Strategy:
    """A strategy by its name, with those of the options that it has.

    Raises:
        InputError: an option out of range.
    """
    chosen: Strategy = given(STRATEGIES[name], options)
    return chosen


def make_strategy(name: StrategyName, **settings: Any) -> Strategy:
    """A strategy by its name; settings that only others have are passed over.

    Raises:
        InputError: a setting out of range, or one that no strategy has.
    """
    known = {each.name for each in fields(PCFES)}
    unknown = sorted(set(settings) - known)
    require(not unknown, "settings", f"some of {sorted(known)}", unknown, "Mend the names.")
    return choose_strategy(name, SimpleNamespace(**settings))


def train_or_load(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
) -> None:
    """Fill a supernet from a file; if there is none, train it, showing progress, and write it.

    An interrupted training goes on from the checkpoint beside the file.

    Raises:
        InputError: weights that do not fit or cannot be written there, or a data set without
            training images.
    """
    screen = terminal.make_console()
    if weights.exists():
        raynas.supernets.load(supernet, weights)
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
    require_folder(weights)
    checkpoint = weights.with_suffix(".training.pt")
    screen.print(
        f"Supernet: training {supernet.space.count():,} architectures on {len(data.train):,} "
        f"images of {data.name}",
        soft_wrap=True,
    )
    with terminal.training_progress(screen) as progress:
        reports = raynas.training.train(
            supernet,
            data.train,
            settings,
            checkpoint=checkpoint,
            observer=progress.epoch,
            step_observer=progress.step,
        )
    raynas.supernets.save(supernet, weights)
    checkpoint.unlink(missing_ok=True)
    seconds = sum(report.seconds for report in reports)
    screen.print(
        f"Supernet: {len(reports)} epochs in {seconds:.0f} s, training accuracy of random paths "
        f"{reports[-1].accuracy:.2%}; saved to {weights}",
        soft_wrap=True,
    )


def require_folder(file: Path) -> None:
    """Create the folder of a file, or raise `InputError`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "supernet", "a file in a folder that can be created", error, "Choose another place."
        ) from error


def search_and_show(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    run_dir: Path,
    **options: Any,
) -> None:
    """Search with progress, print the result and export the best subnet to `run_dir/best`."""
    screen = terminal.make_console()
    with terminal.search_progress(screen, strategy.generations) as observer:
        result = raynas.search(
            supernet, data, strategy=strategy, run_dir=run_dir, observer=observer, **options
        )
    screen.print(terminal.result_table(result.record))
    screen.print(f"Records: {run_dir}, best subnet: {run_dir / 'best'}", soft_wrap=True)
    result.export(run_dir / "best")


def choose_run_dir(base: Path, strategy: str, seed: int, *, resume: bool) -> Path:
    """The directory of a search without `--run-dir`: the latest unfinished one, or a new one.

    A run that was killed before its search began, while its supernet was trained, left no folder;
    then, too, it is a new one.
    """
    stem = f"{strategy}-seed{seed}-"
    if resume:
        begun = sorted(path.parent for path in base.glob(f"{stem}*/{CONFIG}"))
        unfinished = [path for path in begun if not (path / RESULT).exists()]
        if unfinished:
            return unfinished[-1]
        terminal.make_console().print(f"No unfinished search in {base}/{stem}*: starting one")
    return base / f"{stem}{datetime.now():%Y%m%d-%H%M%S}"


def run(command: Callable[..., None] | Mapping[str, Callable[..., None]]) -> None:
    """Run a function, or one of several, with the arguments of the command line.

    What the user can mend is printed as one line, and ends the process with exit code 2.
    """
    try:
        if callable(command):
            tyro.cli(command)
        else:
            tyro.extras.subcommand_cli_from_dict(dict(command))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues, a search with --resume", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        from raynas.workers.pool import LostObjectError, WorkerCrashError

        known = (raynas.training.TrainingDivergedError, WorkerCrashError, LostObjectError)
        if not isinstance(error, known):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
