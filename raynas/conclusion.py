"""The end of a search: the winner under the full protocol, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.evolution.strategy import State
from raynas.files import Record
from raynas.generation import Run
from raynas.metering import Meter
from raynas.preparation import Prepared
from raynas.result import SearchResult, result_from
from raynas.runlog import RunLog
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
    meter = Meter()
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
    record = result_record(run, state, prepared, scores, front, test, meter)
    run.log.finish(record)
    return result_from(record, prepared)


def result_record(
    run: Run,
    state: State,
    prepared: Prepared,
    scores: Sequence[Score],
    front: Sequence[Score],
    test: Score | None,
    meter: Meter,
) -> Record:
    """The content of `result.json`.

    Args:
        run: that has ended.
        state: its last one.
        prepared: supernet, data and limits of the search.
        scores: of the finalists in full.
        front: those of them that the search was for; the first is the winner.
        test: the winner's.
        meter: of the end of the search.
    """
    winner = front[0]
    full_seconds = meter.seconds
    energy = total_energy(run.log, meter)
    seconds = sum(metrics["seconds"] for metrics in run.log.metrics) + full_seconds
    counters = run.evaluator.counters
    generations = run.log.generations
    return {
        **named(prepared, winner),
        "objectives": list(winner.objectives),
        **{f"test_{name}": None if test is None else test.known_objectives[name]
           for name in winner.objectives},
        "flops": winner.costs["flops"],
        "params": winner.costs["params"],
        "strategy": run.strategy.settings()["strategy"],
        "finished": state.finished,
        "generations": len(generations),
        "evaluations": sum(len(g["rescored"]) + len(g["population"]) for g in generations),
        "legal_architectures": prepared.problem.limits.count(),
        "frozen": [generation["frozen"] for generation in generations],
        "seconds": seconds,
        "final_seconds": full_seconds,
        "gpu_hours": counters.gpus * seconds / 3600.0 if counters.gpus else None,
        "energy_j": energy,
        "workers": counters.workers,
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


def total_energy(log: RunLog, meter: Meter) -> float | None:
    """Joules of all generations and of the end, `None` unless all of them were measured."""
    parts = [*(metrics["energy_j"] for metrics in log.metrics), meter.energy_j]
    return None if any(part is None for part in parts) else float(sum(parts))


def count_not_finite(generations: list[Record]) -> int:
    """The number of evaluations that gave logits that are not finite."""
    return sum(
        not score["finite"] for g in generations for score in (*g["rescored"], *g["population"])
    )
