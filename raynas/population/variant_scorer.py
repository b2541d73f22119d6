"""Scoring the one-block variants of a path while a supernet is trained, by the evaluator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

from raynas.data.splits import SearchData, inspect_splits
from raynas.errors import require
from raynas.evaluation.settings import Evaluation, protocol_for
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.score import Score
from raynas.shards.inspection import Inspector
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.recalibration import require_recalibratable
from raynas.task import Task, classification_or
from raynas.workers.open_pool import open_pool
from raynas.workers.training_pool import TrainingPool


@final
class VariantScorer:
    """Scores of paths on the whole validation split, under the weights of the moment.

    They are what `raynas.evaluate` gives: on all samples, in float32, with batch norm recalibrated
    unless it is to be inherited; PONAS does not say which. The statistics of a training mix those
    of all choices that a block behind has met. Paths that begin alike share their first blocks.

    Args:
        supernet: that is trained.
        pool: of workers that have it.
        data: with validation samples, and calibration samples if the protocol recalibrates.
        evaluation: the protocol.

    Raises:
        InputError: no samples, or such as do not fit the supernet or the task; batch norm that
            cannot be recalibrated.
    """

    def __init__(
        self, supernet: ChainSupernet, pool: TrainingPool, data: SearchData, evaluation: Evaluation
    ) -> None:
        require(
            len(data.validation) > 0,
            "data",
            "validation samples that choices are compared on",
            f"none in {data.name}",
            "Split some off, or train with uniform paths.",
        )
        if evaluation.batch_norm == "recalibrate":
            require_recalibratable(supernet)
        task = classification_or(pool.settings.task, supernet.num_classes)
        inspect_splits(data, Inspector(supernet.inputs, task))
        inspector = Inspector(supernet.inputs, task)
        self._supernet = supernet
        self._pool = pool
        self._evaluation = evaluation
        self._rows = 0
        self.data = data.name
        """The name of the data set."""
        self.objective = task.objectives[0]
        """The name of the first objective of scores."""
        self.alone = 0
        """Blocks that would have been executed so far without shared prefixes, times samples."""

        def inspect(shard: Shard) -> None:
            inspector(shard)
            self._rows += shard.rows

        splits = Splits(data.calibration, data.validation, (), inspect)
        self._evaluator = PopulationEvaluator(pool, splits, evaluation, seed=0)

    @property
    def executed(self) -> int:
        """Blocks that were executed so far, times samples: calibration and validation."""
        return self._evaluator.counters.block_forwards

    @property
    def samples(self) -> str:
        """The digest of the samples."""
        return self._evaluator.data_digest

    def scores(self, paths: Sequence[Architecture]) -> list[Score]:
        """The score of each path, in the order given."""
        self._pool.take(self._supernet)
        self.alone += len(paths) * self._supernet.space.blocks * self._rows
        return self._evaluator.score_again(paths)

    def terms(self) -> str:
        """The samples, the task, and whether batch norm is recalibrated.

        A training may go on with other workers, and on another device.
        """
        return json.dumps(
            {
                "samples": self.samples,
                "task": self._pool.settings.judged,
                "batch_norm": self._evaluation.batch_norm,
            },
            sort_keys=True,
        )


@contextmanager
def open_variant_scorer(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    workers: int | None = 0,
    task: Task | None = None,
    evaluation: Evaluation | None = None,
) -> Iterator[VariantScorer]:
    """A scorer of the paths of a supernet that is about to be trained.

    Args:
        supernet: to be trained, as it is at any moment.
        data: whose calibration and validation samples are not trained on.
        workers: 0 for this process; a number of Ray actors; `None` for as many as fit.
        task: how outputs are judged; classification if omitted.
        evaluation: batch norm, device and threads; nothing else of it counts.

    Raises:
        InputError: as `VariantScorer` and `raynas.open_pool`.
    """
    given = protocol_for(supernet, Evaluation() if evaluation is None else evaluation)
    protocol = Evaluation(
        batch_norm=given.batch_norm,
        prefix_sharing=given.prefix_sharing,
        threads=given.threads,
        device=given.device,
    )
    with open_pool(supernet, protocol, workers, task=task, digest="") as pool:
        yield VariantScorer(supernet, TrainingPool(pool), data, protocol)
