"""The end of a search: the winner under the full protocol, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import final

from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import State, Strategy
from raynas.export import Exported, export_architecture
from raynas.files import Record
from raynas.generation import Observer, Run
from raynas.metering import Meter
from raynas.preparation import Prepared
from raynas.replay import retrace
from raynas.report.read import read_run
from raynas.runlog import RESULT, RunLog, require_same
from raynas.score import Score, rank_key
from raynas.shards.lazy import are_in_memory
from raynas.shards.shard import ShardDigest
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.identity import Identity, identity
from raynas.task import Task, classification_or


@final
@dataclass(frozen=True)
class Best:
    """The architecture that a search found; shares are in [0, 1].

    Args:
        architecture: one choice per block.
        objectives: on the full validation split, full precision, full protocol, by name.
        test_objectives: on the held-out test split; `None` if there is none.
        flops: multiply-accumulates for one sample.
        params: parameters of the network that would be retrained.
    """

    architecture: Architecture
    objectives: Mapping[str, float]
    test_objectives: Mapping[str, float] | None
    flops: int
    params: int

    def record(self) -> Record:
        """The winner as a flat JSON object."""
        tested = {} if self.test_objectives is None else self.test_objectives
        return {
            "architecture": list(self.architecture),
            **self.objectives,
            **{f"test_{name}": value for name, value in tested.items()},
            "flops": self.flops,
            "params": self.params,
        }

    @property
    def top1(self) -> float:
        """The share of correct validation samples, for classification.

        Raises:
            InputError: the task was another one, here as in `top5` and `test_top1`.
        """
        return self._share(self.objectives, "top1")

    @property
    def top5(self) -> float:
        """The share of validation samples whose label is among the five largest logits."""
        return self._share(self.objectives, "top5")

    @property
    def test_top1(self) -> float | None:
        """The share of correct test samples; `None` if there are none."""
        tested = self.test_objectives
        return None if tested is None else self._share(tested, "top1", "test_")

    @staticmethod
    def _share(objectives: Mapping[str, float], name: str, prefix: str = "") -> float:
        require(
            name in objectives,
            f"{prefix}{name}",
            "a search for a classification",
            f"one for {', '.join(objectives)}",
            f"Read best.{prefix}objectives.",
        )
        return objectives[name]


@final
@dataclass(frozen=True)
class SearchResult:
    """The result of a search: the winner, and the way to it.

    Args:
        best: the winner.
        record: the content of `result.json`.
    """

    best: Best
    record: Record = field(repr=False)
    supernet: ChainSupernet = field(repr=False)
    data: SearchData = field(repr=False)
    evaluation: Evaluation = field(repr=False)
    task: Task = field(repr=False)
    identity: Identity = field(repr=False)

    def export(self, directory: Path | str) -> Exported:
        """Write the best subnet as files that need no raynas; see `export_architecture`.

        Raises:
            InputError: as there, or the supernet has changed since the search.
        """
        require_same_supernet(self.supernet, self.identity, "supernet")
        return export_architecture(
            directory,
            self.supernet,
            self.data,
            self.best.architecture,
            self.evaluation,
            self.best.record(),
            self.task,
        )


def conclude(run: Run, state: State, prepared: Prepared) -> SearchResult:
    """Choose the winner among the finalists under the full protocol, test it once, and record it.

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
    test = evaluator.test(min(scores, key=rank_key).architecture)
    record = result_record(run, state, prepared, scores, test, meter)
    run.log.finish(record)
    return result_from(record, prepared)


def result_record(
    run: Run,
    state: State,
    prepared: Prepared,
    scores: Sequence[Score],
    test: Score | None,
    meter: Meter,
) -> Record:
    """The content of `result.json`, from full scores of the finalists and the winner's test."""
    winner = min(scores, key=rank_key)
    full_seconds = meter.seconds
    energy = total_energy(run.log, meter)
    seconds = sum(metrics["seconds"] for metrics in run.log.metrics) + full_seconds
    counters = run.evaluator.counters
    generations = run.log.generations
    return {
        **winner.record(),
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
        "skipped_images": skipped_images(prepared.data),
        "not_finite": count_not_finite(generations),
        "finalists": [score.record() for score in scores],
    }  # fmt: skip


def finished_result(
    run_dir: Path, prepared: Prepared, strategy: Strategy, seed: int, notify: Observer
) -> SearchResult | None:
    """The result of a run that had already finished, told to the observer again; else `None`.

    Samples in memory are compared with those of the run; no file is decoded for it.

    Raises:
        InputError: its generations are not what the strategy proposes, or are of other samples.
    """
    if not (run_dir / RESULT).exists():
        return None
    records = read_run(run_dir)
    data = prepared.data
    if are_in_memory(data.calibration) and are_in_memory(data.validation):
        require_same_data(records.config, data, prepared.evaluation, "resume")
    timings = {metrics["generation"]: metrics for metrics in records.metrics}
    for each in retrace(prepared.problem, strategy, seed, records.generations, run_dir):
        notify(each.record, timings.get(each.record["generation"], {}))
    return result_from(records.require_result(), prepared)


def load_result(
    run_dir: Path, supernet: ChainSupernet, data: SearchData, task: Task | None = None
) -> SearchResult:
    """The result of a finished search, read back from its run directory.

    Args:
        run_dir: of the search.
        supernet: that was searched.
        data: on which it was searched; its samples are read once, to see that they are the same.
        task: of the search; classification if omitted.

    Raises:
        InputError: the search has not finished, or was one of another supernet or other data.
    """
    records = read_run(run_dir)
    result = records.require_result()
    recorded = records.config
    searched = Identity.from_json(recorded["supernet"])
    require_same_supernet(supernet, searched, "run_dir")
    require_same({"data": recorded["data"]["name"]}, {"data": data.name}, "run_dir")
    evaluation = Evaluation(**recorded["evaluation"])
    require_same_data(recorded, data, evaluation, "run_dir")
    judged = classification_or(task, supernet.num_classes)
    return SearchResult(best_of(result), result, supernet, data, evaluation, judged, searched)


def require_same_data(
    recorded: Record, data: SearchData, evaluation: Evaluation, argument: str
) -> None:
    """Raise `InputError` if samples are not those that a run was of; reads all of them."""
    if "digest" in recorded["data"]:
        found = {"data.digest": digest_of_data(data, evaluation)}
        require_same({"data.digest": recorded["data"]["digest"]}, found, argument)


def digest_of_data(data: SearchData, evaluation: Evaluation) -> str:
    """The digest of the shards that a search reads: calibration, if it is used, and validation."""
    total = ShardDigest()
    calibration = data.calibration if evaluation.batch_norm == "recalibrate" else ()
    for shard in chain(calibration, data.validation):
        total.update(shard)
    return total.hexdigest()


def require_same_supernet(supernet: ChainSupernet, searched: Identity, argument: str) -> None:
    """Raise `InputError` unless a supernet is the one that was searched."""
    difference = identity(supernet).difference(searched)
    require(
        difference is None,
        argument,
        "the supernet that was searched",
        f"another one: {difference} differ",
        "Load the weights that the search evaluated.",
    )


def result_from(record: Record, prepared: Prepared) -> SearchResult:
    """The result of a search from its record."""
    return SearchResult(
        best_of(record),
        record,
        prepared.supernet,
        prepared.data,
        prepared.evaluation,
        prepared.task,
        prepared.identity,
    )


def best_of(record: Record) -> Best:
    """The winner that a result names."""
    names = record["objectives"]
    tested = {name: record[f"test_{name}"] for name in names}
    return Best(
        architecture=tuple(record["architecture"]),
        objectives={name: record[name] for name in names},
        test_objectives=None if None in tested.values() else tested,
        flops=record["flops"],
        params=record["params"],
    )


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
