"""The options of a search that do not change what it finds: workers, records, energy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import raynas
from raynas.commands import terminal
from raynas.commands.named_strategies import StrategyName
from raynas.commands.options import given, options_of
from raynas.preparation import require_seed
from raynas.runlog import CONFIG, RESULT, require_usable
from raynas.tracking import open_client

if TYPE_CHECKING:
    MeteringOptions: TypeAlias = raynas.Metering
else:
    MeteringOptions = options_of(raynas.Metering)


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
        if self.resume and self.run_dir is not None and not (chosen / CONFIG).exists():
            terminal.make_console().print(
                f"No search to resume in {chosen}: starting a new one", soft_wrap=True
            )
        return chosen

    def options(self) -> dict[str, Any]:
        """The arguments of `raynas.search` and `raynas.check_search`, but for the directory."""
        names = ("workers", "seed", "resume", "ledger")
        metering = given(raynas.Metering, self.metering)
        return {**{name: getattr(self, name) for name in names}, "metering": metering}

    def shown(self) -> dict[str, Any]:
        """The arguments of `search_and_show` on where else the search is seen."""
        return {"dashboard": self.dashboard, "mlflow": self.mlflow}


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
