"""One generation of a search: evaluated and recorded, or replayed from its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import final

import numpy as np

from raynas.errors import InputError, require
from raynas.evolution.strategy import Problem, Proposal, State, Strategy
from raynas.files import Record
from raynas.metering import Meter
from raynas.population.interface import CandidateEvaluator, Counters
from raynas.runlog import RunLog
from raynas.score import Score

Observer = Callable[[Record, Record], None]
"""Receives the record and the metrics of each generation, resumed ones included."""

SAME_LOSS = 1e-3
"""How far means over samples of a recorded candidate may move, relatively, on another machine."""


@final
@dataclass(frozen=True)
class Run:
    """One search under way.

    Args:
        problem: the space and the limits.
        strategy: proposes and is told.
        evaluator: scores.
        log: the records.
        seed: of everything random.
        notify: is told of each generation.
    """

    problem: Problem
    strategy: Strategy
    evaluator: CandidateEvaluator
    log: RunLog
    seed: int
    notify: Observer

    def ask(self, state: State) -> Proposal:
        """The next proposal; see `ask`."""
        return ask(self.problem, self.strategy, self.seed, state)


def search_generation(run: Run, state: State) -> State:
    """Run one generation: ask, follow, evaluate, tell, record."""
    meter = Meter()
    before = run.evaluator.counters
    proposal = run.ask(state)
    run.evaluator.follow(proposal, state)
    freeze_seconds = meter.seconds
    wanted = (*proposal.rescored, *proposal.population)
    scores = run.evaluator.score(wanted)
    require_answers(wanted, scores)
    after = run.strategy.tell(state, proposal, scores)
    counters = run.evaluator.counters
    record = generation_record(state.generation, proposal, scores, after, counters)
    metrics = {
        "generation": state.generation,
        "seconds": meter.seconds,
        "freeze_seconds": freeze_seconds,
        "energy_j": meter.energy_j,
        "candidates": len(wanted),
        "known": counters.known - before.known,
        "frozen": len(proposal.prefix),
        "block_forwards": counters.block_forwards - before.block_forwards,
        "halvings": counters.halvings - before.halvings,
        "workers": counters.workers,
    }
    run.log.append(record, metrics)
    run.notify(record, metrics)
    return after


def require_answers(wanted: Sequence[tuple[int, ...]], scores: Sequence[Score]) -> None:
    """Raise `InputError` unless an evaluator scored what it was asked to, in the same order."""
    require(
        [score.architecture for score in scores] == [tuple(each) for each in wanted],
        "evaluator",
        f"one score for each of {len(wanted)} architectures, in their order",
        f"{len(scores)} scores",
        "Return the scores in the order of the architectures.",
    )


def generation_record(
    generation: int,
    proposal: Proposal,
    scores: Sequence[Score],
    after: State,
    counters: Counters,
) -> Record:
    """The record of one generation: only what seed and protocol determine."""
    scored = [score.record() for score in scores]
    best = after.top[0] if after.top else None
    return {
        "generation": generation,
        "prefix": list(proposal.prefix),
        "frozen": len(proposal.prefix),
        "refused": proposal.refused,
        "finished": after.finished,
        "samples": counters.samples,
        "selection": counters.selection,
        "origins": dict(proposal.origins),
        "best": None
        if best is None
        else {"architecture": list(best.architecture), **best.known_objectives},
        "rescored": scored[: len(proposal.rescored)],
        "population": scored[len(proposal.rescored) :],
    }


def recorded_scores(record: Record) -> list[Score]:
    """The scores of a recorded generation, rescored parents first.

    Raises:
        InputError: they are not as `generation_record` writes them.
    """
    try:
        scores = [Score.from_record(each) for each in (*record["rescored"], *record["population"])]
        if len({tuple(score.objectives) for score in scores}) > 1:
            raise ValueError("scores with different objectives")
        return scores
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "resume",
            "generations with the scores of their architectures",
            f"a damaged one: {error!r}",
            "Restore the file, or start a new run in another directory.",
        ) from error


@final
@dataclass(frozen=True)
class Recorded:
    """A recorded generation, and what led to it and came of it.

    Args:
        record: as it was written.
        before: the state that it was proposed from.
        proposal: what the strategy asked for.
        scores: what it was told.
        after: the state that it left.
    """

    record: Record
    before: State
    proposal: Proposal
    scores: list[Score]
    after: State


def ask(problem: Problem, strategy: Strategy, seed: int, state: State) -> Proposal:
    """The next proposal. A generation has randomness of its own, so that a resume draws it."""
    return strategy.ask(problem, state, np.random.default_rng([seed, state.generation]))


def retrace(
    problem: Problem,
    strategy: Strategy,
    seed: int,
    generations: Sequence[Record],
    directory: Path,
) -> Iterator[Recorded]:
    """Ask again for every recorded generation, and tell the recorded scores.

    Args:
        problem, strategy, seed: as those of `Run`.
        generations: the records.
        directory: that they are from, for errors.

    Raises:
        InputError: a record is not what the strategy proposes.
    """
    state = strategy.start()
    for record in generations:
        proposal = ask(problem, strategy, seed, state)
        scores = recorded_scores(record)
        require_proposed(state, proposal, scores, record, directory)
        after = strategy.tell(state, proposal, scores)
        yield Recorded(record, state, proposal, scores, after)
        state = after


def replay(run: Run) -> State:
    """The state after the recorded generations.

    The evaluator follows them, and scores one of the last candidates again, so that a history is
    never continued by something that scores otherwise.

    Raises:
        InputError: a record is not what the strategy proposes, or a score is another now.
    """
    state = run.strategy.start()
    log = run.log
    timings = {metrics["generation"]: metrics for metrics in log.metrics}
    latest: list[Score] = []
    recorded = retrace(run.problem, run.strategy, run.seed, log.generations, log.directory)
    for each in recorded:
        run.evaluator.follow(each.proposal, each.before)
        require_same_samples(run, each.record)
        kept = each.proposal.prefix == each.before.prefix
        latest = each.scores or latest if kept else each.scores
        state = each.after
        run.notify(each.record, timings.get(each.record["generation"], {}))
    if latest:
        require_same_score(run, latest[0])
    return state


def require_proposed(
    state: State,
    proposal: Proposal,
    scores: Sequence[Score],
    record: Record,
    directory: Path,
) -> None:
    """Raise `InputError` unless a recorded generation is what the strategy proposes."""
    recorded = (record.get("generation"), record.get("prefix"))
    require(
        state.finished is None
        and recorded == (state.generation, list(proposal.prefix))
        and [score.architecture for score in scores] == [*proposal.rescored, *proposal.population],
        "resume",
        "the generations that this strategy and seed propose",
        f"others from generation {state.generation} on in {directory}",
        "Restore the file, or resume with the versions of raynas and numpy that wrote it.",
    )


def require_same_samples(run: Run, record: Record) -> None:
    """Raise `InputError` unless candidates are scored on the samples of a recorded generation.

    Elsewhere losses round differently, and so other samples may be selected.
    """
    counters = run.evaluator.counters
    require(
        (record.get("samples"), record.get("selection")) == (counters.samples, counters.selection),
        "resume",
        "the samples that the recorded scores are of",
        f"others from generation {record['generation']} on in {run.log.directory}",
        "Resume on a machine and with the versions that the run began with.",
    )


def require_same_score(run: Run, recorded: Score) -> None:
    """Raise `InputError` unless a recorded candidate has its score still, but for rounding."""
    (now,) = run.evaluator.score_again([recorded.architecture])
    # Where correct samples are counted, one, or a hundredth, may fall on the other side.
    counted = max(1.0, 0.01 * recorded.samples) / max(recorded.samples, 1)
    moved = SAME_LOSS if recorded.correct is None else counted
    same = recorded.finite == now.finite and (
        not recorded.finite
        or (
            isclose(recorded.loss, now.loss, rel_tol=SAME_LOSS, abs_tol=SAME_LOSS)
            and recorded.objectives.keys() == now.objectives.keys()
            and all(
                isclose(value, now.objectives[name], rel_tol=moved, abs_tol=moved)
                for name, value in recorded.objectives.items()
            )
        )
    )
    require(
        same,
        "resume",
        f"the recorded score of {list(recorded.architecture)}, {brief(recorded)}",
        f"{brief(now)} now",
        "The supernet, the data or the task compute something else than when the run began: "
        "restore them, or start a new run in another directory.",
    )


def brief(score: Score) -> str:
    """A score in a few words."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in score.objectives.items())
    return f"{shown}, loss {score.loss:.4f}"


def generation_line(record: Record, metrics: Record) -> str:
    """One generation in one line."""
    scored = (*record["rescored"], *record["population"])
    best = record["best"]
    parts = [
        f"generation {record['generation'] + 1:3d}",
        best_so_far(best) if best else "nothing scored",
        f"frozen {record['frozen']:2d}",
        f"{len(scored):3d} candidates on {record['samples']} samples",
    ]
    if metrics:
        parts.append(f"{metrics['seconds']:6.2f} s")
    broken = sum(not score["finite"] for score in scored)
    notes = [
        *([f"{broken} with outputs that are not finite"] if broken else []),
        *([f"freeze refused: {record['refused']}"] if record["refused"] else []),
        *([record["finished"]] if record["finished"] else []),
    ]
    return "  ".join(parts) + (f"  ({'; '.join(notes)})" if notes else "")


def best_so_far(best: Record) -> str:
    """The best score in words: a share in per cent, anything else as a number."""
    name, value = next((name, value) for name, value in best.items() if name != "architecture")
    if value is None:
        return f"best {name} not finite"
    shown = f"{value:7.2%}" if name == "top1" else f"{name} {value:.4f}"
    return f"best {shown}"
