"""The workflow of experiments and commands: train once, search with progress, show, export."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, final

import raynas
from raynas.commands import terminal
from raynas.commands.options import chosen, given
from raynas.commands.parsing import ArgumentError, read_arguments
from raynas.commands.paths import PathsName, greedy_summary, open_paths
from raynas.commands.pool_file import pool_of, write_pool
from raynas.errors import InputError, require
from raynas.evolution import CFES, EA, NSGA2, PCFES, RandomSearch, Strategy
from raynas.evolution.presets import ChoiceFreezing
from raynas.files import require_writable
from raynas.preparation import require_seed
from raynas.runlog import CONFIG, RESULT, require_usable
from raynas.task import classification_or
from raynas.training.greedy import GreedyPaths

if TYPE_CHECKING:
    from raynas.result import SearchResult

StrategyName = Literal["ea", "random", "cf", "pcf", "nsga2"]


STRATEGIES: Mapping[str, type[Strategy]] = {
    "ea": EA,
    "random": RandomSearch,
    "cf": CFES,
    "pcf": PCFES,
    "nsga2": NSGA2,
}


@final
@dataclass(frozen=True)
class RunOptions:
    """The way a search is run, and the place of its records.

    Args:
        strategy: ea (SPOS), random, cf (CF-ES), pcf (PCF-ES), or nsga2 (a front of several
            costs).
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of everything random in the search.
        run_dir: the directory of the records and of the exported best subnet; a new folder below
            runs/ if omitted.
        resume: continue the run in run_dir, or the latest unfinished one.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
    """

    strategy: StrategyName = "pcf"
    workers: int | None = None
    seed: int = 0
    run_dir: Path | None = None
    resume: bool = False
    ledger: Path | None = None

    def directory(self, base: Path) -> Path:
        """The run directory: the one given, or one below `base`.

        Raises:
            InputError: a seed out of range, or a directory that a run cannot be written to.
        """
        require_seed(self.seed)
        chosen = self.run_dir or choose_run_dir(base, self.strategy, self.seed, resume=self.resume)
        require_usable(chosen, resume=self.resume)
        return chosen

    def options(self) -> dict[str, Any]:
        """The arguments of `raynas.search` and `raynas.check_search`, but for the directory."""
        names = ("workers", "seed", "resume", "ledger")
        return {name: getattr(self, name) for name in names}


def choose_strategy(
    name: StrategyName, options: Any, freezing: ChoiceFreezing | None = None
) -> Strategy:
    """A strategy by its name, with those of the options that it has.

    A search for a front keeps as many as its population, unless `top_k` is given.

    Args:
        name: of the strategy.
        options: their values as attributes; those that are `None` were not given.
        freezing: the thresholds of cf and pcf that were not given; their defaults if omitted.

    Raises:
        InputError: an option out of range.
    """
    values = chosen(options)
    if name == "nsga2":
        values = {"top_k": values.get("population", NSGA2.population), **values}
    elif freezing is not None and name in ("cf", "pcf"):
        suited = freezing.cfes() if name == "cf" else freezing.pcfes()
        values = {**vars(suited), **values}
    made: Strategy = given(STRATEGIES[name], SimpleNamespace(**values))
    return made


def make_strategy(name: StrategyName, **settings: Any) -> Strategy:
    """A strategy by its name; settings that only others have are passed over.

    Raises:
        InputError: a setting out of range, or one that no strategy has.
    """
    known = {each.name for kind in (PCFES, NSGA2) for each in fields(kind)}
    unknown = sorted(set(settings) - known)
    require(not unknown, "settings", f"some of {sorted(known)}", unknown, "Mend the names.")
    return choose_strategy(name, SimpleNamespace(**settings))


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
) -> None:
    """Fill a supernet from a file; if there is none, train it, showing progress, and write it.

    An interrupted training goes on from the checkpoint beside the file. The pool of a greedy one is
    written there, too. Of several processes that train together, the first reads and writes.

    Args:
        supernet, data, settings, task: as those of `raynas.training.train`.
        weights: the file.
        paths: which paths are trained: uniform, uniform-constraint, fair or greedy.
        workers: that filter greedy ones; 0 for this process.
        filter_samples: about how many validation samples greedy ones are compared on.
        greedy: settings of greedy ones; see `GreedySettings`.

    Raises:
        InputError: weights that do not fit or cannot be written there, or a data set without
            training images.
    """
    from raynas.training.processes import Processes

    processes, screen = Processes.current(), terminal.make_console()
    if processes.agree(weights.exists):
        processes.in_first(partial(raynas.supernets.load, supernet, weights))
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
    checkpoint = checkpoint_of(weights)
    objective = classification_or(task, supernet.num_classes).objectives[0]
    filtering: dict[str, Any] = {"workers": workers, "filter_samples": filter_samples}
    opening = open_paths(paths, supernet, data, settings, task=task, greedy=greedy, **filtering)
    with ExitStack() as opened:
        sampler = processes.in_first(partial(opened.enter_context, opening))
        screen.print(
            f"Supernet: training {supernet.space.count():,} architectures on {len(data.train):,} "
            f"samples of {data.name}",
            soft_wrap=True,
        )
        with terminal.training_progress(screen, objective) as progress:
            options: dict[str, Any] = {"task": task, "paths": sampler, "checkpoint": checkpoint}
            options |= {"observer": progress.epoch, "step_observer": progress.step}
            reports = raynas.training.train(supernet, data.train, settings, **options)

    def write() -> None:
        if isinstance(sampler, GreedyPaths):
            write_pool(weights, supernet, sampler)
            summary = greedy_summary(sampler, len(reports), settings.epochs)
            screen.print(f"Supernet: {summary}", soft_wrap=True)
        # The weights come last: where they are, there is nothing left to write.
        raynas.supernets.save(supernet, weights)
        checkpoint.unlink(missing_ok=True)

    processes.in_first(write)
    seconds = sum(report.seconds for report in reports)
    name, value = terminal.training_score(objective, reports[-1].accuracy)
    screen.print(
        f"Supernet: {len(reports)} epochs in {seconds:.0f} s, training {name} of random paths "
        f"{value.strip()}; saved to {weights}",
        soft_wrap=True,
    )


def checkpoint_of(weights: Path) -> Path:
    """The checkpoint of an unfinished training, beside the file of its weights."""
    return weights.with_name(f"{weights.name}.training.pt")


def require_room(weights: Path) -> None:
    """Raise `InputError` unless weights, their checkpoint and a pool can be written."""
    require_writable("out", weights, checkpoint_of(weights).name, pool_of(weights).name)


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
    if len(result.front) > 1:
        screen.print(terminal.front_table(result.record))
    screen.print(f"Records: {run_dir}, best subnet: {run_dir / 'best'}", soft_wrap=True)
    export_best(result, run_dir / "best")


def export_best(result: SearchResult, directory: Path) -> None:
    """Export the best subnet of a search; what torch cannot write of it is told in one line.

    The search itself is fine then, so that this is no error.

    Raises:
        InputError: nothing of it could be written there.
    """
    from raynas.export import PartialExportError

    try:
        result.export(directory)
    except PartialExportError as error:
        print(f"warning: {one_line(error)}", file=sys.stderr)


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
        read_arguments(command)()
    except BrokenPipeError:
        # Whoever read the output has seen enough; nobody is left to be told of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ArgumentError, InputError, OSError) as error:
        fail(error, 2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues, a search with --resume", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        from raynas.workers.pool import LostObjectError, WorkerCrashError

        known = (raynas.training.TrainingDivergedError, WorkerCrashError, LostObjectError)
        if not isinstance(error, known):
            raise
        fail(error, 1)


def fail(error: Exception, code: int) -> NoReturn:
    """End the process with an error in one line."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(code)


def one_line(error: Exception) -> str:
    """The message of an error, without breaks of lines."""
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())
