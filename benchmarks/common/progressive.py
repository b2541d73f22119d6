"""The progressive training of PONAS, at the cost of the other trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from raynas.data.splits import SearchData
from raynas.files import Record
from raynas.population.variant_scorer import open_variant_scorer
from raynas.supernets import ChainSupernet
from raynas.training import TrainingSettings, train_progressively
from raynas.training.progressive_paths import ProgressivePaths, ProgressiveSettings


@dataclass(frozen=True)
class Stages:
    """How a budget is spent on the largest path, the blocks, and the comparison of their choices.

    Args:
        budget: images that may be trained on, once for each path that sees them.
        images: of an epoch.
        compared: validation images that the choices of a block are compared on, after batch norm
            was recalibrated on one shard.
        evaluation: the cost of evaluating an image, over that of training on it.
        choices: of each block.
    """

    budget: float
    images: int
    compared: int
    evaluation: float
    choices: tuple[int, ...]

    @property
    def largest(self) -> int:
        """The epochs of the largest path: about half of the budget."""
        return max(1, int(self.budget / 2 / self.images))

    @property
    def compared_cost(self) -> float:
        """What all comparisons cost, in images trained on."""
        return sum(self.choices) * self.compared * self.evaluation

    def block_samples(self, batch: int) -> int:
        """The images that each block is trained on: whole batches of what is left."""
        left = self.budget - self.largest * self.images - self.compared_cost
        return max(1, int(left / sum(self.choices) / batch)) * batch


def run_progressively(
    supernet: ChainSupernet,
    images: SearchData,
    settings: TrainingSettings,
    stages: Stages,
    checkpoint: Path,
) -> Record:
    """Train a supernet as PONAS does, in place, and return what it did."""
    assert images.train is not None
    batch = settings.batch_size
    samples = stages.block_samples(batch)
    few = replace(
        images,
        calibration=images.calibration[:1],
        validation=images.validation[: stages.compared // images.validation[0].rows],
    )
    first = replace(settings, epochs=stages.largest, warmup_epochs=stages.largest / 10)
    with open_variant_scorer(supernet, few) as scorer:
        paths = ProgressivePaths(supernet, scorer, ProgressiveSettings(1, samples))
        reports = train_progressively(supernet, images.train, first, paths, checkpoint=checkpoint)
    steps = stages.largest * (stages.images // batch) + len(stages.choices) * samples // batch
    optimized = stages.largest * stages.images + sum(stages.choices) * samples
    return {
        "steps": steps,
        "planned": steps,
        "optimized": optimized,
        "evaluated": sum(stages.choices) * stages.compared,
        "cost": optimized + stages.compared_cost,
        "budget": stages.budget,
        "seconds": sum(report.seconds for report in reports),
        "pool": [],
    }
