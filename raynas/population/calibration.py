"""Batch-norm statistics of one architecture, as a search calibrates its finalists."""

from __future__ import annotations

from raynas.data.splits import SearchData
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.settings import Evaluation, protocol_for
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.inspection import Inspector
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task, classification_or
from raynas.workers.open_pool import open_pool


def statistics_for(
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Architecture,
    evaluation: Evaluation,
    task: Task | None = None,
) -> Statistics | None:
    """Calibrate one architecture in this process.

    Args:
        supernet: whose architecture it is; one that a search has accepted under the protocol.
        data: with calibration samples, if they are needed.
        architecture: one choice per block.
        evaluation: the protocol.
        task: of the search; classification if omitted.

    Returns:
        The statistics of the architecture's nodes, merged; `None` where they are inherited.

    Raises:
        InputError: a calibration sample that does not fit.
    """
    if protocol_for(supernet, evaluation).batch_norm != "recalibrate":
        return None
    judged = classification_or(task, supernet.num_classes)
    inspect = Inspector(supernet.inputs, judged)
    # Nobody reads the pool's digest.
    with open_pool(supernet, evaluation, 0, task=judged, digest="") as pool:
        splits = Splits(data.calibration, (), inspect=inspect)
        return PopulationEvaluator(pool, splits, evaluation, 0).statistics(architecture)
