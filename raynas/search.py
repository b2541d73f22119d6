"""The loop: ask → evaluate → tell → record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.costs import Budget, Constraint, flops_table
from raynas.errors import require
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem, Strategy
from raynas.generation import Observer, replay, search_generation
from raynas.ledger.score_key import ARITHMETIC
from raynas.runlog import RunLog, require_resumable, require_usable

if TYPE_CHECKING:
    from raynas.data.splits import SearchData
    from raynas.result import SearchResult
    from raynas.supernets.chain import ChainSupernet

FORMAT = 1
"""Of the records; a run directory of another format is not resumed."""


def search(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    strategy: Strategy,
    run_dir: Path | str,
    constraint: Constraint | None = None,
    evaluation: Evaluation | None = None,
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | str | None = None,
    observer: Observer | None = None,
) -> SearchResult:
    """Find the best architecture of a trained supernet under a constraint.

    The history, and so the result, depends on the supernet, the data, the strategy, the constraint,
    the evaluation protocol and the seed; not on the workers, nor on interruptions.

    Args:
        supernet: trained; it is not changed.
        data: calibration, validation and test splits.
        strategy: `EA`, `RandomSearch`, `CFES` or `PCFES`.
        run_dir: where the records go; created if missing.
        constraint: which architectures are legal; all of them if omitted.
        evaluation: the protocol under which candidates are scored; `Evaluation()` if omitted.
        workers: Ray actors; 0 evaluates in this process, `None` takes every GPU or core.
        seed: of everything random.
        resume: continue the run that `run_dir` holds, if it holds one.
        ledger: a file of scores that searches share, created if missing: what it holds is not
            evaluated again, but for candidates that vote on samples; what is evaluated is added.
            The history is the same with and without.
        observer: is told of each generation.

    Raises:
        InputError: an argument that cannot be used; nothing has been overwritten by then.
    """
    from raynas.ledger.ledger import Ledger
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.result import conclude, finished_result
    from raynas.shards.inspection import Inspector
    from raynas.workers.open_pool import open_pool

    require_seed(seed)
    protocol = evaluation or Evaluation()
    problem = define_problem(supernet, data, constraint)
    require_usable(Path(run_dir), resume=resume)
    config: dict[str, Any] = {
        "format": FORMAT,
        "arithmetic": ARITHMETIC,
        "seed": seed,
        **describe(supernet, data, constraint),
        "strategy": strategy.settings(),
        "evaluation": asdict(protocol),
    }
    require_resumable(Path(run_dir), config, unknown=("data.digest", "device"))
    inspector = Inspector(supernet.image_shape, data.num_classes)
    with Ledger(ledger) as scores, open_pool(supernet, protocol, workers) as pool:
        evaluator = PopulationEvaluator(
            pool,
            data.calibration,
            data.validation,
            protocol,
            seed,
            inspector,
            ledger=scores,
            supernet=config["supernet"]["digest"],
        )
        config["data"]["digest"] = evaluator.data_digest
        config["device"] = pool.device
        with RunLog(run_dir, config, resume=resume) as log:
            notify = observer or (lambda record, metrics: None)
            result = finished_result(supernet, data, protocol, log)
            state = replay(
                problem, strategy, evaluator if result is None else None, log, seed, notify
            )
            if result is not None:
                return result
            while state.finished is None:
                state = search_generation(problem, strategy, evaluator, log, state, seed, notify)
            return conclude(supernet, data, problem, strategy, state, evaluator, log, protocol)


def check_search(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    run_dir: Path | str,
    constraint: Constraint | None = None,
    evaluation: Evaluation | None = None,
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | str | None = None,
) -> int:
    """See that a search can be run, before the long work of training its supernet.

    Args: as those of `search`.

    Returns:
        The exact number of legal architectures.

    Raises:
        InputError: as `search` would, but for what only the trained weights can show.
    """
    from raynas.ledger import file as ledger_file
    from raynas.workers.open_pool import check_workers

    require_seed(seed)
    problem = define_problem(supernet, data, constraint)
    require_usable(Path(run_dir), resume=resume)
    if ledger is not None:
        ledger_file.require_usable(Path(ledger))
    check_workers(evaluation or Evaluation(), workers)
    return problem.budget.count()


def require_seed(seed: int) -> None:
    """Raise `InputError` unless numpy takes the seed."""
    require(seed >= 0, "seed", "at least 0", seed, "Use a number such as 0.")


def define_problem(
    supernet: ChainSupernet, data: SearchData, constraint: Constraint | None
) -> Problem:
    """The space and the budget; sees that supernet, data and constraint fit together.

    Raises:
        InputError: no validation images, classes differ, the supernet's choices do not fit each
            other, or no architecture satisfies the constraint.
    """
    require(
        len(data.validation) > 0,
        "data",
        "at least one validation shard",
        f"none in {data.name}",
        "Give the search images to score candidates on.",
    )
    require(
        supernet.num_classes == data.num_classes,
        "supernet",
        f"{data.num_classes} classes, as {data.name} has",
        supernet.num_classes,
        "Build the supernet with num_classes of the data.",
    )
    supernet.check()
    if constraint is None:
        return Problem(supernet.space, Budget(flops_table(supernet)))
    return Problem(supernet.space, constraint.budget(supernet))


def describe(
    supernet: ChainSupernet,
    data: SearchData,
    constraint: Constraint | None,
) -> dict[str, Any]:
    """What `config.json` says about the supernet, the data and the constraint."""
    from raynas.supernets.identity import digest

    limit = None
    if constraint is not None:
        limit = {"constraint": type(constraint).__name__, **asdict(constraint)}  # type: ignore[call-overload]
    return {
        "supernet": {"digest": digest(supernet), "choices": list(supernet.space.choices)},
        "data": {"name": data.name},
        "constraint": limit,
    }
