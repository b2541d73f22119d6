"""The end of a search: the winner under the full protocol, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from raynas.costs import flops_table, params_table
from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.scores import CandidateScore
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem, Score, State, Strategy, rank_key
from raynas.export import export_subnet, plain_subnet
from raynas.metering import Meter
from raynas.population.evaluator import PopulationEvaluator
from raynas.runlog import CONFIG, RESULT, Record, RunLog, read_json, require_same
from raynas.shards.inspection import InspectedShards, Inspector
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.identity import digest
from raynas.workers.open_pool import open_pool


@dataclass(frozen=True)
class Best:
    """The architecture that a search found; shares are in [0, 1].

    Args:
        architecture: one choice per block.
        top1: on the full validation split, full precision, full protocol.
        top5: likewise.
        test_top1: on the held-out test split; `None` if there is none.
        flops: multiply-accumulates for one image.
        params: parameters of the network that would be retrained.
    """

    architecture: Architecture
    top1: float
    top5: float
    test_top1: float | None
    flops: int
    params: int


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and how.

    Args:
        best: the winner.
        record: the content of `result.json`.
    """

    best: Best
    record: Record
    supernet: ChainSupernet = field(repr=False)
    data: SearchData = field(repr=False)
    evaluation: Evaluation = field(repr=False)

    def export(self, directory: Path | str) -> None:
        """Write the best subnet as files that need no raynas; see `export_architecture`."""
        export_architecture(
            directory,
            self.supernet,
            self.data,
            self.best.architecture,
            self.evaluation,
            asdict(self.best),
        )


def export_architecture(
    directory: Path | str,
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Architecture,
    evaluation: Evaluation,
    description: dict[str, Any],
) -> None:
    """Write one subnet with its batch norm calibrated on the calibration split.

    Args:
        directory: receives `architecture.json`, `weights.safetensors` and `model.pt2`.
        supernet: whose weights it inherits.
        data: whose calibration split it is calibrated on, unless statistics are inherited.
        architecture: one choice per block.
        evaluation: the protocol that the statistics follow.
        description: added to `architecture.json`.

    Raises:
        InputError: an architecture that the supernet does not have, images that do not fit it, or
            a directory that holds the export of another architecture.
    """
    chosen = supernet.space.validate(architecture)
    statistics: Statistics | None = None
    if evaluation.batch_norm == "recalibrate":
        with open_pool(supernet, evaluation, workers=0) as pool:
            inspector = Inspector(supernet.image_shape, data.num_classes)
            evaluator = PopulationEvaluator(
                pool, data.calibration, (), evaluation, seed=0, observe=inspector
            )
            statistics = evaluator.statistics(chosen)
    subnet = plain_subnet(supernet, chosen, statistics)
    content = {**description, "architecture": list(chosen), "image_shape": supernet.image_shape}
    export_subnet(directory, subnet, supernet.image_shape, content)


def conclude(
    supernet: ChainSupernet,
    data: SearchData,
    problem: Problem,
    strategy: Strategy,
    state: State,
    evaluator: PopulationEvaluator,
    log: RunLog,
    evaluation: Evaluation,
) -> SearchResult:
    """Choose the winner among the finalists under the full protocol, test it once, and record it.

    Args:
        supernet, data, problem, strategy, evaluator, log, evaluation: of the search.
        state: the last one.
    """
    meter = Meter()
    finalists = strategy.finalists(state)
    scores = evaluator.score_in_full(finalists)
    winner = min(scores, key=lambda s: rank_key(Score(s.architecture, s.top1, s.loss, s.finite)))
    full_seconds = meter.seconds
    test = test_score(supernet, data, evaluator, winner.architecture)
    table = problem.budget.table
    flops = (table if table.name == "flops" else flops_table(supernet)).of(winner.architecture)
    params = params_table(supernet).of(winner.architecture)
    seconds = sum(metrics["seconds"] for metrics in log.metrics) + full_seconds
    record: Record = {
        "architecture": list(winner.architecture),
        "top1": winner.top1,
        "top5": winner.top5,
        "loss": winner.loss if isfinite(winner.loss) else None,
        "finite": winner.finite,
        "test_top1": None if test is None else test.top1,
        "test_top5": None if test is None else test.top5,
        "flops": flops,
        "params": params,
        "strategy": strategy.settings()["strategy"],
        "finished": state.finished,
        "generations": len(log.generations),
        "evaluations": sum(len(g["rescored"]) + len(g["population"]) for g in log.generations),
        "legal_architectures": problem.budget.count(),
        "frozen": [generation["frozen"] for generation in log.generations],
        "seconds": seconds,
        "final_seconds": full_seconds,
        "suffix_speedup": suffix_speedup(evaluator, finalists),
        "gpu_hours": gpu_hours(evaluator, seconds),
        "energy_j": total_energy(log, meter),
        "workers": evaluator.workers,
        "seed": log.seed,
        "skipped_images": skipped_images(data),
        "not_finite": count_not_finite(log.generations),
        "finalists": [finalist(score) for score in scores],
    }
    log.finish(record)
    return result_from(record, supernet, data, evaluation)


def test_score(
    supernet: ChainSupernet,
    data: SearchData,
    evaluator: PopulationEvaluator,
    architecture: Architecture,
) -> CandidateScore | None:
    """The winner's score on the held-out test split; `None` if there is none.

    Raises:
        InputError: test images that do not fit the supernet, or labels outside the classes.
    """
    if len(data.test) == 0:
        return None
    inspector = Inspector(supernet.image_shape, data.num_classes)
    return evaluator.test(architecture, InspectedShards(data.test, inspector))


def finished_result(
    supernet: ChainSupernet, data: SearchData, evaluation: Evaluation, log: RunLog
) -> SearchResult | None:
    """The result of a run that had already finished, or `None`."""
    record = log.result
    return None if record is None else result_from(record, supernet, data, evaluation)


def load_result(run_dir: Path, supernet: ChainSupernet, data: SearchData) -> SearchResult:
    """The result of a finished search, read back from its run directory.

    Args:
        run_dir: of the search.
        supernet: that was searched.
        data: on which it was searched; only its name is compared.

    Raises:
        InputError: the search has not finished, or was one of another supernet or data set.
    """
    config = read_json(run_dir / CONFIG)
    require(
        (run_dir / RESULT).exists(),
        "run_dir",
        f"a finished search, with its {RESULT}",
        run_dir,
        "Continue the search with resume (--resume) until it ends.",
    )
    there = {"supernet": config["supernet"]["digest"], "data": config["data"]["name"]}
    require_same(there, {"supernet": digest(supernet), "data": data.name}, "run_dir")
    evaluation = Evaluation(**config["evaluation"])
    return result_from(read_json(run_dir / RESULT), supernet, data, evaluation)


def result_from(
    record: Record, supernet: ChainSupernet, data: SearchData, evaluation: Evaluation
) -> SearchResult:
    """A result from its record."""
    best = Best(
        architecture=tuple(record["architecture"]),
        top1=record["top1"],
        top5=record["top5"],
        test_top1=record["test_top1"],
        flops=record["flops"],
        params=record["params"],
    )
    return SearchResult(best, record, supernet, data, evaluation)


def finalist(score: CandidateScore) -> Record:
    """A finalist's score under the full protocol."""
    return {"architecture": list(score.architecture), "top1": score.top1, "finite": score.finite}


def suffix_speedup(
    evaluator: PopulationEvaluator, finalists: Sequence[Architecture]
) -> float | None:
    """How much faster candidates are scored behind the frozen prefix than from the images on.

    Measured here and now, without the ledger, on the finalists that start with the prefix: seconds
    of the full protocol over seconds of the one behind the prefix, sampling and quantization
    included. `None` if nothing was frozen, or no finalist is behind the prefix.
    """
    prefix = evaluator.prefix
    behind = [candidate for candidate in finalists if candidate[: len(prefix)] == prefix]
    if not prefix or not behind:
        return None
    whole = Meter()
    evaluator.score_in_full(behind, reuse=False)
    whole_seconds = whole.seconds
    suffix = Meter()
    evaluator.score(behind, reuse=False)
    return whole_seconds / suffix.seconds


def skipped_images(data: SearchData) -> int:
    """How many images of all splits were passed over because they cannot be read."""
    splits = (data.calibration, data.validation, data.test)
    return sum(len(getattr(split, "skipped", ())) for split in splits)


def gpu_hours(evaluator: PopulationEvaluator, seconds: float) -> float | None:
    """Hours of all GPUs that the workers held; `None` if they held none."""
    return evaluator.gpus * seconds / 3600.0 if evaluator.gpus else None


def total_energy(log: RunLog, meter: Meter) -> float | None:
    """Joules of all generations and of the end, `None` unless all of them were measured."""
    parts = [*(metrics["energy_j"] for metrics in log.metrics), meter.energy_j]
    return None if any(part is None for part in parts) else float(sum(parts))


def count_not_finite(generations: list[Record]) -> int:
    """How many evaluations gave logits that are not finite."""
    return sum(
        not score["finite"] for g in generations for score in (*g["rescored"], *g["population"])
    )
