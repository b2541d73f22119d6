"""The loop: ask → evaluate → tell → record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.costs import Budget, Constraint, flops_table
from raynas.errors import InputError, require
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem, Proposal, Score, State, Strategy
from raynas.metering import Meter
from raynas.runlog import Record, RunLog, require_usable

if TYPE_CHECKING:
    from raynas.data.shard import Shard
    from raynas.data.splits import SearchData
    from raynas.distributed.population import PopulationEvaluator
    from raynas.evaluation.scores import CandidateScore
    from raynas.result import SearchResult
    from raynas.supernets.chain import ChainSupernet

Observer = Callable[[Record, Record], None]
"""Receives the record and the metrics of each generation, resumed ones included."""

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
        observer: is told of each generation.

    Raises:
        InputError: an argument that cannot be used; nothing has been overwritten by then.
    """
    from raynas.distributed.opening import open_pool
    from raynas.distributed.population import PopulationEvaluator
    from raynas.result import conclude, finished_result

    protocol = evaluation or Evaluation()
    problem = define_problem(supernet, data, constraint)
    require_usable(Path(run_dir), resume=resume)
    inspector = Inspector(supernet, data.num_classes)
    with open_pool(supernet, protocol, workers) as pool:
        evaluator = PopulationEvaluator(
            pool, data.calibration, data.validation, protocol, seed, inspector
        )
        config = {
            "format": FORMAT,
            "seed": seed,
            **describe(supernet, data, inspector, constraint),
            "strategy": strategy.settings(),
            "evaluation": asdict(protocol),
        }
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
    resume: bool = False,
) -> int:
    """See that a search can be run, before the long work of training its supernet.

    Args: as those of `search`.

    Returns:
        The exact number of legal architectures.

    Raises:
        InputError: as `search` would, but for what only the trained weights can show.
    """
    from raynas.distributed.opening import check_workers

    problem = define_problem(supernet, data, constraint)
    require_usable(Path(run_dir), resume=resume)
    check_workers(evaluation or Evaluation(), workers)
    return problem.budget.count()


def define_problem(
    supernet: ChainSupernet, data: SearchData, constraint: Constraint | None
) -> Problem:
    """The space and the budget; sees that supernet, data and constraint fit together.

    Raises:
        InputError: classes differ, the supernet's choices do not fit each other, or no
            architecture satisfies the constraint.
    """
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


class Inspector:
    """Sees every shard as it is read: checks it, and takes the digest of the data.

    Args:
        supernet: whose image shape the shards must have.
        num_classes: labels must be below it.
    """

    def __init__(self, supernet: ChainSupernet, num_classes: int) -> None:
        from raynas.data.shard import ShardDigest

        self._shape = supernet.image_shape
        self._classes = num_classes
        self.digest = ShardDigest()

    def __call__(self, shard: Shard) -> None:
        """Check one depth-0 shard.

        Raises:
            InputError: images of another shape, or labels outside the classes.
        """
        require(
            shard.features.shape[1:] == self._shape,
            f"{shard.split} images",
            f"shape {self._shape}, which the supernet takes",
            shard.features.shape[1:],
            "Resize the images, or build the supernet for their size.",
        )
        low, high = int(shard.labels.min()), int(shard.labels.max())
        require(
            low >= 0 and high < self._classes,
            f"{shard.split} labels",
            f"0 to {self._classes - 1}, one of {self._classes} classes",
            low if low < 0 else high,
            "Number the classes from 0, and give the right num_classes.",
        )
        self.digest.update(shard)


def describe(
    supernet: ChainSupernet,
    data: SearchData,
    inspector: Inspector,
    constraint: Constraint | None,
) -> dict[str, Any]:
    """What `config.json` says about the supernet, the data and the constraint."""
    from raynas.supernets.checkpoints import digest

    limit = None
    if constraint is not None:
        limit = {"constraint": type(constraint).__name__, **asdict(constraint)}  # type: ignore[call-overload]
    return {
        "supernet": {"digest": digest(supernet), "choices": list(supernet.space.choices)},
        "data": {"name": data.name, "digest": inspector.digest.hexdigest()},
        "constraint": limit,
    }


def search_generation(
    problem: Problem,
    strategy: Strategy,
    evaluator: PopulationEvaluator,
    log: RunLog,
    state: State,
    seed: int,
    notify: Observer,
) -> State:
    """One generation: ask, freeze if the proposal does, evaluate, tell, record."""
    meter = Meter()
    forwards = evaluator.block_forwards
    proposal = strategy.ask(problem, state, generation_rng(seed, state))
    follow_freeze(evaluator, proposal)
    freeze_seconds = meter.seconds
    wanted = (*proposal.rescored, *proposal.population)
    scores = evaluator.score(wanted) if wanted else []
    after = strategy.tell(state, proposal, [to_score(score) for score in scores])
    record = generation_record(state.generation, proposal, scores, after, evaluator.samples)
    metrics = {
        "generation": state.generation,
        "seconds": meter.seconds,
        "freeze_seconds": freeze_seconds,
        "energy_j": meter.energy_j,
        "candidates": len(wanted),
        "frozen": len(proposal.prefix),
        "block_forwards": evaluator.block_forwards - forwards,
        "workers": evaluator.workers,
    }
    log.append(record, metrics)
    notify(record, metrics)
    return after


def generation_rng(seed: int, state: State) -> np.random.Generator:
    """The randomness of one generation: its own, so that a resumed search draws the same."""
    return np.random.default_rng([seed, state.generation])


def follow_freeze(evaluator: PopulationEvaluator, proposal: Proposal) -> None:
    """Advance the shards to the proposal's prefix, if anything is evaluated behind it."""
    if proposal.prefix != evaluator.prefix and (proposal.rescored or proposal.population):
        reference = (*proposal.rescored, *proposal.population)[0]
        evaluator.freeze(proposal.prefix, reference)


def to_score(score: CandidateScore) -> Score:
    """What a strategy needs of a candidate's score."""
    return Score(score.architecture, score.top1, score.loss, score.finite)


def generation_record(
    generation: int,
    proposal: Proposal,
    scores: Sequence[CandidateScore],
    after: State,
    samples: int,
) -> Record:
    """What `generations.jsonl` holds of one generation: only what seed and protocol determine."""
    scored = [
        {
            "architecture": list(score.architecture),
            "correct": score.correct,
            "top1": score.top1,
            "top5": score.top5,
            "loss": score.loss if score.finite else None,
            "finite": score.finite,
        }
        for score in scores
    ]
    best = after.top[0] if after.top else None
    return {
        "generation": generation,
        "prefix": list(proposal.prefix),
        "frozen": len(proposal.prefix),
        "refused": proposal.refused,
        "finished": after.finished,
        "samples": samples,
        "origins": dict(proposal.origins),
        "best": None
        if best is None
        else {"architecture": list(best.architecture), "top1": best.top1},
        "rescored": scored[: len(proposal.rescored)],
        "population": scored[len(proposal.rescored) :],
    }


def recorded_scores(record: Record) -> list[Score]:
    """The scores of a recorded generation, rescored parents first."""
    return [
        Score(
            tuple(score["architecture"]),
            score["top1"],
            np.inf if score["loss"] is None else score["loss"],
            score["finite"],
        )
        for score in (*record["rescored"], *record["population"])
    ]


def replay(
    problem: Problem,
    strategy: Strategy,
    evaluator: PopulationEvaluator | None,
    log: RunLog,
    seed: int,
    notify: Observer,
) -> State:
    """The state after the recorded generations: ask again, and tell the recorded scores.

    Args:
        evaluator: its shards are advanced as they were; `None` if nothing is evaluated any more.

    Raises:
        InputError: a record is not what the strategy proposes.
    """
    state = strategy.start()
    timings = {metrics["generation"]: metrics for metrics in log.metrics}
    for record in log.generations:
        proposal = strategy.ask(problem, state, generation_rng(seed, state))
        scores = recorded_scores(record)
        proposed = [*proposal.rescored, *proposal.population]
        if [score.architecture for score in scores] != proposed or (
            list(proposal.prefix) != record["prefix"]
        ):
            raise InputError(
                "resume",
                "the generations that this strategy and seed propose",
                f"others in generation {record['generation']} of {log.directory}",
                "Resume with the version of raynas and numpy that started the run.",
            )
        if evaluator is not None:
            follow_freeze(evaluator, proposal)
        state = strategy.tell(state, proposal, scores)
        notify(record, timings.get(record["generation"], {}))
    return state
