"""The end of a search: the winner under the full protocol, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.evolution.strategy import State
from raynas.files import Record
from raynas.generation import Run
from raynas.metering.bills import total
from raynas.preparation import Prepared
from raynas.result import SearchResult, result_from
from raynas.score import Score
from raynas.versions import versions


def conclude(run: Run, state: State, prepared: Prepared) -> SearchResult:
    """Choose the winner among the finalists under the full protocol, test it once, and record it.

    The winner is the first member of the strategy's front.
    Their scores so far are of different prefixes, samples and precisions, and were selected for
    being high, so none of them decides. The test split is read for the winner alone, and so never
    steers what is found.

    Args:
        run: that has ended.
        state: its last one.
        prepared: supernet, data and limits of the search.
    """
    lap = run.meter.begin(run.evaluator)
    evaluator = run.evaluator
    finalists = run.strategy.finalists(state)
    require(
        len(finalists) > 0,
        "strategy",
        "at least one finalist",
        "none",
        "Let survival keep the best, and finalists name them.",
    )
    scores = run.problem.priced(evaluator.score_in_full(finalists))
    front = run.strategy.front(scores)
    require(
        len(front) > 0,
        "strategy",
        "a front of at least one finalist",
        "none",
        "Let front return some of the scores that it is given, the best first.",
    )
    test = evaluator.test(front[0].architecture)
    record = result_record(run, state, prepared, scores, front, test, lap.end())
    run.log.finish(record)
    return result_from(record, prepared)


def result_record(
    run: Run,
    state: State,
    prepared: Prepared,
    scores: Sequence[Score],
    front: Sequence[Score],
    test: Score | None,
    costs: Record,
) -> Record:
    """The content of `result.json`.

    Args:
        run: that has ended.
        state: its last one.
        prepared: supernet, data and limits of the search.
        scores: of the finalists in full.
        front: those of them that the search was for; the first is the winner.
        test: the winner's.
        costs: of the end of the search.
    """
    winner = front[0]
    replays = replay_costs(run)
    generations = run.log.generations
    return {
        **named(prepared, winner),
        "objectives": list(winner.objectives),
        **{f"test_{name}": None if test is None else test.known_objectives[name]
           for name in winner.objectives},
        "tested_samples": run.evaluator.test_digest,
        "flops": winner.costs["flops"],
        "params": winner.costs["params"],
        "strategy": run.strategy.settings()["strategy"],
        "finished": state.finished,
        "generations": len(generations),
        "evaluations": sum(len(g["rescored"]) + len(g["population"]) for g in generations),
        "legal_architectures": prepared.problem.limits.count(),
        "frozen": [generation["frozen"] for generation in generations],
        **total([*run.log.metrics, *replays, costs], run.meter.settings),
        "final_seconds": costs["seconds"],
        "replay_seconds": float(sum(replay["seconds"] for replay in replays)),
        "workers": costs["workers"],
        "seed": run.seed,
        "versions": versions(),
        "skipped_images": skipped_images(prepared.data),
        "not_finite": count_not_finite(generations),
        "front": [named(prepared, score) for score in front],
        "finalists": [named(prepared, score) for score in scores],
    }  # fmt: skip


def named(prepared: Prepared, score: Score) -> Record:
    """The record of a score, with the names of its choices."""
    return {**score.record(), "names": list(prepared.supernet.decode(score.architecture))}


def skipped_images(data: SearchData) -> int:
    """The number of images of all splits that were passed over because they cannot be read."""
    splits = (data.calibration, data.validation, data.test)
    return sum(len(getattr(split, "skipped", ())) for split in splits)


def replay_costs(run: Run) -> list[Record]:
    """The costs of reading generations back, each time that the search was resumed."""
    recorded = [metrics.get("replay") for metrics in run.log.metrics]
    return [costs for costs in (*recorded, run.meter.take_kept()) if costs is not None]


def count_not_finite(generations: list[Record]) -> int:
    """The number of evaluations that gave logits that are not finite."""
    return sum(
        not score["finite"] for g in generations for score in (*g["rescored"], *g["population"])
    )
