"""One generation of a search: proposed, evaluated, told and recorded."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from raynas.errors import require, require_kind
from raynas.evolution.strategy import Problem, Proposal, State, Strategy
from raynas.files import Record
from raynas.metering.meter import Meter
from raynas.population.interface import CandidateEvaluator, Counters
from raynas.runlog import RunLog
from raynas.score import Score
from raynas.versions import versions

Observer = Callable[[Record, Record], None]
"""Receives the record and the metrics of each generation, resumed ones included."""


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
        meter: measures what it costs.
    """

    problem: Problem
    strategy: Strategy
    evaluator: CandidateEvaluator
    log: RunLog
    seed: int
    notify: Observer
    meter: Meter = field(default_factory=Meter)

    def ask(self, state: State) -> Proposal:
        """The next proposal; see `ask`."""
        return ask(self.problem, self.strategy, self.seed, state)


def ask(problem: Problem, strategy: Strategy, seed: int, state: State) -> Proposal:
    """The next proposal. A generation has randomness of its own, so that a resume draws it.

    Raises:
        InputError: a strategy that proposes what the problem does not allow.
    """
    proposal = strategy.ask(problem, state, np.random.default_rng([seed, state.generation]))
    require_legal(problem, proposal)
    return proposal


def require_legal(problem: Problem, proposal: Proposal) -> None:
    """Raise `InputError` unless a strategy proposes legal architectures behind its prefix."""
    require_kind(proposal, Proposal, "strategy", "Return one from ask.")
    for each in (*proposal.rescored, *proposal.population):
        architecture = problem.space.validate(each, "strategy")
        require(
            architecture[: len(proposal.prefix)] == tuple(proposal.prefix)
            and problem.limits.allows(architecture),
            "strategy",
            f"architectures within the limits that start with the prefix {list(proposal.prefix)}",
            list(architecture),
            "Draw them with problem.limits.draw, or leave out what problem.limits.allows does not.",
        )


def search_generation(run: Run, state: State) -> State:
    """Run one generation: ask, follow, evaluate, tell, record."""
    before = run.evaluator.counters
    lap = run.meter.begin(run.evaluator)
    proposal = run.ask(state)
    run.evaluator.follow(proposal, state)
    freeze_seconds = lap.seconds
    wanted = (*proposal.rescored, *proposal.population)
    answers = run.evaluator.score(wanted)
    require_answers(wanted, answers)
    scores = run.problem.priced(answers)
    after = run.strategy.tell(state, proposal, scores)
    counters = run.evaluator.counters
    record = generation_record(state.generation, proposal, scores, after, counters)
    metrics = {
        "generation": state.generation,
        **lap.end(),
        "freeze_seconds": freeze_seconds,
        "candidates": len(wanted),
        "known": counters.known - before.known,
        "frozen": len(proposal.prefix),
        "block_forwards": counters.block_forwards - before.block_forwards,
        "block_forwards_alone": counters.block_forwards_alone - before.block_forwards_alone,
        "halvings": counters.halvings - before.halvings,
        "importance": counters.importance if counters.selection != before.selection else None,
        "versions": versions(),
    }
    replayed = run.meter.take_kept()
    if replayed is not None:
        metrics["replay"] = replayed
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
    notes = notes_of(record)
    return "  ".join(parts) + (f"  ({'; '.join(notes)})" if notes else "")


def notes_of(record: Record) -> list[str]:
    """Remarks on what is unusual in a generation, and on the end of the search."""
    scored = (*record["rescored"], *record["population"])
    broken = sum(not score["finite"] for score in scored)
    return [
        *([f"{broken} with outputs that are not finite"] if broken else []),
        *([f"freeze refused: {record['refused']}"] if record["refused"] else []),
        *([record["finished"]] if record["finished"] else []),
    ]


def objective_of(record: Record) -> str | None:
    """The name of the first objective of a generation; `None` where nothing has been scored."""
    names = [name for name in record["best"] or {} if name != "architecture"]
    return names[0] if names else None


def median_of(record: Record) -> float | None:
    """The median of the first objective of a generation's candidates, but for those not finite.

    `None` where there are none.
    """
    name = objective_of(record)
    scored = (*record["rescored"], *record["population"])
    values = [each[name] for each in scored if name and each.get(name) is not None]
    return statistics.median(values) if values else None


def best_so_far(best: Record) -> str:
    """The best score in words: a share in per cent, anything else as a number."""
    name, value = next((name, value) for name, value in best.items() if name != "architecture")
    if value is None:
        return f"best {name} not finite"
    shown = f"{value:7.2%}" if name == "top1" else f"{name} {value:.4f}"
    return f"best {shown}"
