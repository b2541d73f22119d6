"""The loop: ask → follow → evaluate → tell → record."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.costs import Constraint
from raynas.errors import require, require_flags
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem, State, Strategy
from raynas.files import Record, as_path, dumps
from raynas.generation import Observer, Run, search_generation
from raynas.ledger.score_key import ARITHMETIC
from raynas.metering.meter import Meter
from raynas.metering.settings import Metering, require_metering
from raynas.observers import attach, join_observers, print_generation, require_call_observer
from raynas.population.interface import CandidateEvaluator
from raynas.preparation import (
    Prepared,
    inspect_data,
    open_evaluator,
    prepare,
    require_seed,
    require_strategy,
    require_suited,
)
from raynas.replay import replay
from raynas.runlog import (
    CONFIG,
    FORMAT,
    RunLog,
    recorded_config,
    require_resumable,
    require_same,
    require_usable,
)

if TYPE_CHECKING:
    from raynas.data.splits import SearchData
    from raynas.result import SearchResult
    from raynas.supernets.chain import ChainSupernet
    from raynas.task import Task
    from raynas.workers.call_progress import CallObserver
    from raynas.workers.pool import Pool

logger = logging.getLogger("raynas")


def search(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    strategy: Strategy,
    run_dir: Path | str,
    constraint: Constraint | None = None,
    evaluation: Evaluation | None = None,
    task: Task | None = None,
    workers: int | None = None,
    pool: Pool | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | str | None = None,
    progress: bool = False,
    observer: Observer | None = None,
    call_observer: CallObserver | None = None,
    dashboard: bool = False,
    metering: Metering | None = None,
) -> SearchResult:
    """Find the best architecture of a trained supernet under a constraint.

    The history, and so the result, depends on the supernet, the data, the task, the strategy, the
    constraint, the evaluation protocol and the seed; not on the workers, nor on interruptions.

    Args:
        supernet: trained; it is not changed.
        data: calibration, validation and test splits.
        strategy: `EA`, `RandomSearch`, `CFES`, `PCFES`, `NSGA2`, or your own `Strategy`.
        run_dir: the directory of the records; created if missing.
        constraint: which architectures are legal, one limit or several; all if omitted.
        evaluation: the protocol under which candidates are scored; `Evaluation()` if omitted.
        task: how outputs are judged; classification among the supernet's classes if omitted.
        workers: Ray actors; 0 evaluates in this process, `None` takes every GPU or core.
        pool: an open pool of this supernet (`raynas.open_pool`), instead of `workers`; it stays
            open, for other searches.
        seed: of everything random.
        resume: continue the run that `run_dir` holds, if it holds one.
        ledger: a file of scores that searches share, created if missing: a score that it holds is
            not evaluated again, but for candidates that vote on samples; new ones are added. The
            history is the same with and without.
        progress: print a line for each generation.
        observer: is told of each generation.
        call_observer: is told how many of the workers' calls of an operation are done
            (`raynas.workers.call_progress.CallProgress`).
        dashboard: start Ray's dashboard where Ray is started, and print its address.
        metering: the carbon intensity, and the power of machines that cannot measure it;
            `Metering()` if omitted.

    Raises:
        InputError: an argument that cannot be used; nothing has been overwritten by then.
    """
    from raynas.conclusion import conclude
    from raynas.result import finished_result
    from raynas.workers.open_pool import require_dashboard

    require_flags(resume=resume, progress=progress)
    require_dashboard(dashboard, workers, pool)
    require_call_observer(call_observer)
    require_strategy(strategy)
    require_metering(metering)
    prepared = prepare(supernet, data, constraint, evaluation, task)
    require_suited(strategy, prepared.problem)
    require_seed(seed)
    directory = as_path(run_dir, "run_dir")
    require_usable(directory, resume=resume)
    config = configuration(prepared, strategy, seed)
    config["supernet"] = recorded_supernet(directory, prepared, config["supernet"])
    require_resumable(directory, config, unknown=("data.digest", "device"))
    notify = join_observers(print_generation if progress else None, observer)
    finished = finished_result(directory, prepared, strategy, seed, notify)
    if finished is not None:
        return finished
    with open_evaluator(prepared, workers, pool, ledger, seed, dashboard=dashboard) as evaluator:
        config["data"]["digest"] = evaluator.data_digest
        config["device"] = evaluator.device
        with RunLog(run_dir, config, resume=resume) as log, Meter(metering) as meter:
            told = attach(evaluator, directory, notify, call_observer)
            run = Run(prepared.problem, strategy, evaluator, log, seed, told, meter)
            return conclude(run, finish(run), prepared)


def search_with(
    evaluator: CandidateEvaluator,
    problem: Problem,
    *,
    strategy: Strategy,
    run_dir: Path | str,
    seed: int = 0,
    resume: bool = False,
    observer: Observer | None = None,
    description: Record | None = None,
    metering: Metering | None = None,
) -> State:
    """Run the loop with a scorer of your own: a table of known scores, a simulator, a predictor.

    Args:
        evaluator: scores the candidates.
        problem: the space and what is legal in it.
        strategy, run_dir, seed, resume, observer, metering: as those of `search`.
        description: a JSON object that says what the scores depend on; a run is resumed only with
            an equal one.

    Returns:
        The last state; `strategy.finalists(state)` are the best architectures.

    Raises:
        InputError: as `search`.
    """
    require_flags(resume=resume)
    require_strategy(strategy)
    strategy.check(problem)
    require_seed(seed)
    require_metering(metering)
    config = {
        "format": FORMAT,
        "seed": seed,
        "choices": list(problem.space.choices),
        "strategy": strategy.settings(),
        "evaluator": {"name": type(evaluator).__qualname__, **(description or {})},
    }
    with RunLog(run_dir, config, resume=resume) as log, Meter(metering) as meter:
        notify = join_observers(observer)
        return finish(Run(problem, strategy, evaluator, log, seed, notify, meter))


def recorded_supernet(run_dir: Path, prepared: Prepared, now: Record) -> Record:
    """The supernet as the run in a directory recorded it, if it is this one; as it is now, if none.

    What modules compute is compared with a tolerance: other processors round differently.

    Raises:
        InputError: a run of another supernet, with what differs.
    """
    from raynas.supernets.identity import Identity, doubt

    if not (run_dir / CONFIG).exists():
        return now
    recorded: Record = recorded_config(run_dir).get("supernet", {})
    if not {"structure", "behaviour"} <= recorded.keys():
        return now
    difference = prepared.identity.difference(Identity.from_json(recorded))
    require(
        difference is None,
        "resume",
        "the supernet that the run was started with",
        f"another one: {difference} differ",
        "Restore its weights, attributes and code, or use another run directory.",
    )
    why = doubt(prepared.identity, prepared.task)
    if why is not None:
        logger.warning("resume: %s; see to it that it is as it was when the run was started.", why)
    return recorded


def finish(run: Run) -> State:
    """The last state of a run, from wherever its records leave it."""
    lap = run.meter.begin(run.evaluator)
    state = replay(run)
    if run.log.generations:
        run.meter.keep(lap.end())
    while state.finished is None:
        state = search_generation(run, state)
    return state


def check_search(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    run_dir: Path | str,
    strategy: Strategy | None = None,
    constraint: Constraint | None = None,
    evaluation: Evaluation | None = None,
    task: Task | None = None,
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | str | None = None,
    metering: Metering | None = None,
) -> int | None:
    """See that a search can be run, before the long work of training its supernet.

    Args: as those of `search`; without a `strategy`, its settings are not looked at.

    Returns:
        The exact number of legal architectures; `None` where it cannot be counted.

    Raises:
        InputError: as `search` would, but for what only the trained weights can show.
    """
    from raynas.ledger import file as ledger_file
    from raynas.workers.open_pool import check_workers

    require_flags(resume=resume)
    require_metering(metering)
    prepared = prepare(supernet, data, constraint, evaluation, task)
    inspect_data(prepared)
    require_seed(seed)
    directory = as_path(run_dir, "run_dir")
    require_usable(directory, resume=resume)
    if strategy is not None:
        require_strategy(strategy)
        require_suited(strategy, prepared.problem)
        require_same_settings(directory, configuration(prepared, strategy, seed))
    if ledger is not None:
        ledger_file.require_usable(as_path(ledger, "ledger"))
    check_workers(prepared.evaluation, workers, supernet, prepared.task)
    return prepared.problem.limits.count()


def require_same_settings(run_dir: Path, config: Record) -> None:
    """Raise `InputError` unless the run in a directory, if there is one, has the same settings.

    The supernet may still have to be trained, so its weights are left to `search`.
    """
    if not (run_dir / CONFIG).exists():
        return
    recorded = recorded_config(run_dir)
    names = ("format", "arithmetic", "seed", "task", "constraint", "strategy", "evaluation")
    now = json.loads(dumps({name: config[name] for name in names}))
    require_same({name: recorded.get(name) for name in names}, now)


def configuration(prepared: Prepared, strategy: Strategy, seed: int) -> dict[str, Any]:
    """The content of `config.json`, but for what is known only when shards have been read."""
    return {
        "format": FORMAT,
        "arithmetic": ARITHMETIC,
        "seed": seed,
        **prepared.description(),
        "strategy": strategy.settings(),
        "evaluation": asdict(prepared.evaluation),
    }
