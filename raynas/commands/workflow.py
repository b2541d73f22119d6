"""The workflow of experiments and commands: choose a strategy, search with progress, export."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, final

import raynas
from raynas.commands import terminal
from raynas.commands.live import search_view
from raynas.commands.options import chosen, given, options_of
from raynas.commands.parsing import ArgumentError, read_arguments
from raynas.errors import InputError, require
from raynas.evolution import CFES, EA, NSGA2, PCFES, RandomSearch, Strategy
from raynas.evolution.presets import ChoiceFreezing
from raynas.observers import join_observers
from raynas.preparation import require_seed
from raynas.runlog import CONFIG, RESULT, require_usable
from raynas.tracking import MlflowTracking, open_client

if TYPE_CHECKING:
    from rich.console import Console

    from raynas.export import Exported
    from raynas.generation import Observer
    from raynas.result import SearchResult

    MeteringOptions: TypeAlias = raynas.Metering
else:
    MeteringOptions = options_of(raynas.Metering)

REPORT = "report.html"
"""The report of a search, in its run directory, or of several, in the one above."""

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
        dashboard: start Ray's dashboard with Ray, and print its address.
        mlflow: the URI of an MLflow server or store that the search is tracked in.
        metering: what its price is told in.
    """

    strategy: StrategyName = "pcf"
    workers: int | None = None
    seed: int = 0
    run_dir: Path | None = None
    resume: bool = False
    ledger: Path | None = None
    dashboard: bool = False
    mlflow: str | None = None
    metering: MeteringOptions = field(default_factory=MeteringOptions)

    def directory(self, base: Path) -> Path:
        """The run directory: the one given, or one below `base`.

        Raises:
            InputError: a seed or a power out of range, a dashboard without Ray, a URI that MLflow
                refuses, or a directory that a run cannot be written to.
        """
        require_seed(self.seed)
        given(raynas.Metering, self.metering)
        if self.dashboard:
            from raynas.workers.open_pool import require_dashboard

            require_dashboard(self.dashboard, self.workers)
        if self.mlflow is not None:
            open_client(self.mlflow)
        chosen = self.run_dir or choose_run_dir(base, self.strategy, self.seed, resume=self.resume)
        require_usable(chosen, resume=self.resume)
        return chosen

    def options(self) -> dict[str, Any]:
        """The arguments of `raynas.search` and `raynas.check_search`, but for the directory."""
        names = ("workers", "seed", "resume", "ledger")
        metering = given(raynas.Metering, self.metering)
        return {**{name: getattr(self, name) for name in names}, "metering": metering}

    def shown(self) -> dict[str, Any]:
        """The arguments of `search_and_show` on where else the search is seen."""
        return {"dashboard": self.dashboard, "mlflow": self.mlflow}


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
        print(f"warning: not written: {told}", file=sys.stderr)


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
