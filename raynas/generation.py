"""One generation of a search: evaluated and recorded, or replayed from its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from raynas.errors import InputError
from raynas.evolution.strategy import Problem, Proposal, Score, State, Strategy
from raynas.files import Record
from raynas.metering import Meter
from raynas.runlog import RunLog

if TYPE_CHECKING:
    from raynas.evaluation.scores import CandidateScore
    from raynas.population.evaluator import PopulationEvaluator

Observer = Callable[[Record, Record], None]
"""Receives the record and the metrics of each generation, resumed ones included."""


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
    forwards, halvings = evaluator.block_forwards, evaluator.halvings
    known = evaluator.known
    proposal = strategy.ask(problem, state, generation_rng(seed, state))
    follow_freeze(evaluator, proposal, state)
    freeze_seconds = meter.seconds
    wanted = (*proposal.rescored, *proposal.population)
    if state.generation == 0:
        evaluator.vote_first(wanted)
    scores = evaluator.score(wanted)
    after = strategy.tell(state, proposal, [to_score(score) for score in scores])
    kept = {"samples": evaluator.samples, "selection": evaluator.selection}
    record = generation_record(state.generation, proposal, scores, after, kept)
    metrics = {
        "generation": state.generation,
        "seconds": meter.seconds,
        "freeze_seconds": freeze_seconds,
        "energy_j": meter.energy_j,
        "candidates": len(wanted),
        "known": evaluator.known - known,
        "frozen": len(proposal.prefix),
        "block_forwards": evaluator.block_forwards - forwards,
        "halvings": evaluator.halvings - halvings,
        "workers": evaluator.workers,
    }
    log.append(record, metrics)
    notify(record, metrics)
    return after


def generation_rng(seed: int, state: State) -> np.random.Generator:
    """The randomness of one generation: its own, so that a resumed search draws the same."""
    return np.random.default_rng([seed, state.generation])


def follow_freeze(evaluator: PopulationEvaluator, proposal: Proposal, state: State) -> None:
    """Advance the shards to the proposal's prefix, if anything is evaluated behind it.

    The parents behind it and the last generation vote on the samples to keep.
    """
    if proposal.prefix != evaluator.prefix and (proposal.rescored or proposal.population):
        reference = (*proposal.rescored, *proposal.population)[0]
        voters = (*proposal.rescored, *state.population)
        evaluator.freeze(proposal.prefix, reference, voters)


def to_score(score: CandidateScore) -> Score:
    """What a strategy needs of a candidate's score."""
    return Score(score.architecture, score.top1, score.loss, score.finite)


def generation_record(
    generation: int,
    proposal: Proposal,
    scores: Sequence[CandidateScore],
    after: State,
    kept: Record,
) -> Record:
    """What `generations.jsonl` holds of one generation: only what seed and protocol determine."""
    scored = [
        {
            "architecture": list(score.architecture),
            "correct": score.correct,
            "top1": score.top1,
            "top5": score.top5,
            "loss": score.loss if isfinite(score.loss) else None,
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
        **kept,
        "origins": dict(proposal.origins),
        "best": None
        if best is None
        else {"architecture": list(best.architecture), "top1": best.top1},
        "rescored": scored[: len(proposal.rescored)],
        "population": scored[len(proposal.rescored) :],
    }


def recorded_scores(record: Record) -> list[Score]:
    """The scores of a recorded generation, rescored parents first.

    Raises:
        InputError: they are not as `generation_record` writes them.
    """
    try:
        return [
            Score(
                tuple(score["architecture"]),
                float(score["top1"]),
                inf if score["loss"] is None else float(score["loss"]),
                bool(score["finite"]),
            )
            for score in (*record["rescored"], *record["population"])
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "resume",
            "generations with the scores of their architectures",
            f"a damaged one: {error!r}",
            "Restore the file, or start a new run in another directory.",
        ) from error


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
        recorded = (record.get("generation"), record.get("prefix"))
        if (
            state.finished is not None
            or recorded != (state.generation, list(proposal.prefix))
            or [score.architecture for score in scores] != proposed
        ):
            raise InputError(
                "resume",
                "the generations that this strategy and seed propose",
                f"others from generation {state.generation} on in {log.directory}",
                "Restore the file, or resume with the versions of raynas and numpy that wrote it.",
            )
        if evaluator is not None:
            follow_freeze(evaluator, proposal, state)
            if state.generation == 0:
                evaluator.vote_first(proposed)
            require_same_samples(evaluator, record, log)
        state = strategy.tell(state, proposal, scores)
        notify(record, timings.get(record["generation"], {}))
    return state


def require_same_samples(evaluator: PopulationEvaluator, record: Record, log: RunLog) -> None:
    """Raise `InputError` unless candidates are scored on the samples of a recorded generation.

    Elsewhere losses round differently, and so other samples may be selected.
    """
    recorded = (record.get("samples"), record.get("selection"))
    if recorded != (evaluator.samples, evaluator.selection):
        raise InputError(
            "resume",
            "the samples that the recorded scores are of",
            f"others from generation {record['generation']} on in {log.directory}",
            "Resume on a machine and with the versions that the run began with.",
        )
