"""The recorded generations of a search, told to its strategy again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import final

from raynas.errors import InputError, describe_error, require
from raynas.evolution.strategy import Problem, Proposal, State, Strategy
from raynas.files import Record
from raynas.generation import Run, ask
from raynas.score import Score


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
            f"a damaged one: {describe_error(error)}",
            "Restore the file, or start a new run in another directory.",
        ) from error


@final
@dataclass(frozen=True)
class Recorded:
    """A recorded generation, and what led to it and came of it.

    Args:
        record: as it was written.
        before: the state that it was proposed from.
        proposal: the strategy's.
        scores: told to the strategy.
        after: the state that it left.
    """

    record: Record
    before: State
    proposal: Proposal
    scores: list[Score]
    after: State


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
    close = run.evaluator.tolerance
    # Where correct samples are counted, one, or a hundredth, may fall on the other side.
    counted = max(1.0, 0.01 * recorded.samples) / max(recorded.samples, 1)
    moved = close if recorded.correct is None else counted
    same = recorded.finite == now.finite and (
        not recorded.finite
        or (
            isclose(recorded.loss, now.loss, rel_tol=close, abs_tol=close)
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
