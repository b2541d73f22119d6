"""`train_progressively`: the largest path first, then block by block (PONAS, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, final

import torch

from raynas.data.splits import TrainingImages
from raynas.errors import require, require_kind
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import PlainState
from raynas.task import Task, classification_or
from raynas.training import resume
from raynas.training.fitting import require_images
from raynas.training.processes import Processes
from raynas.training.progress import EpochReport, StepReport
from raynas.training.progressive_paths import ProgressivePaths, ProgressiveSettings
from raynas.training.settings import TrainingSettings
from raynas.training.trainer import make_optimizer, train


def train_progressively(
    supernet: ChainSupernet,
    images: TrainingImages,
    settings: TrainingSettings,
    paths: ProgressivePaths | None,
    *,
    task: Task | None = None,
    checkpoint: str | Path | None = None,
    observer: Callable[[EpochReport], None] | None = None,
    step_observer: Callable[[StepReport], None] | None = None,
) -> list[EpochReport]:
    """Train the largest path of a supernet, then its blocks one after another, in place.

    Each stage is a training of its own, with a fresh momentum, as `raynas.training.train` does it;
    the table of what choices lose is `paths.table()` afterwards::

        with open_variant_scorer(supernet, data) as scorer:
            paths = ProgressivePaths(supernet, scorer)
            train_progressively(supernet, data.train, settings, paths)
            paths.table().save("table.json")

    Args:
        supernet, images, task: as those of `train`.
        settings: of the first stage; the second differs from it as `paths.settings` says.
        paths: with the scorer that compares choices. Of several processes that train together only
            the first needs it.
        checkpoint: a file that is rewritten after each stage, and others beside it of the same name
            with the number of the stage, after each epoch of that. If it exists, the training goes
            on from there, with the result of an uninterrupted one. Files of other stages than that
            which is to go on are removed.
        observer: called after each epoch, counted over all stages.
        step_observer: called after each step, one step late.

    Returns:
        The reports of all epochs of all stages, those before a resume included.

    Raises:
        InputError: as `train`, or outputs of all choices of a block that are not finite.
        TrainingDivergedError: the loss is not finite; the last checkpoint is kept.
    """
    require_kind(supernet, ChainSupernet, "supernet", "Build one with raynas.supernets.ponas.")
    require_kind(settings, TrainingSettings, "settings", "Write it as raynas.TrainingSettings(…).")
    require_images(images)
    processes = Processes.current()
    if paths is not None or processes.first:
        require_kind(paths, ProgressivePaths, "paths", "Make them with an open_variant_scorer.")
    walk = Walk(supernet, images, settings, paths, task, checkpoint)
    reports = processes.agree(walk.resumed)
    begun, tuning = processes.agree(walk.plan)
    every = settings.epochs + supernet.space.blocks * tuning.block_epochs
    for stage in range(begun, 1 + supernet.space.blocks):
        own = settings if stage == 0 else tuning.of_block(settings, stage)
        seen = images if stage == 0 else part_of(images, tuning.block_samples)
        processes.in_first(partial(walk.enter, stage))
        counted = Counted(len(reports), every, observer, step_observer)
        found = train(
            supernet, seen, own, task=task, paths=paths, checkpoint=walk.beside(stage),
            observer=counted.epoch, step_observer=counted.step,
        )  # fmt: skip
        reports += map(counted.renumbered, found)
        processes.in_first(partial(walk.leave, stage, reports))
    processes.copy_state(supernet)
    return reports


@final
@dataclass(frozen=True)
class Walk:
    """The stages of a progressive training, as process 0 walks through them.

    Args:
        supernet, images, settings, paths, task, checkpoint: as those of `train_progressively`.
    """

    supernet: ChainSupernet
    images: TrainingImages
    settings: TrainingSettings
    paths: ProgressivePaths | None
    task: Task | None
    checkpoint: str | Path | None

    @property
    def sampler(self) -> ProgressivePaths:
        """The paths, which process 0 has."""
        assert self.paths is not None
        return self.paths

    def resumed(self) -> list[EpochReport]:
        """The reports of the stages that a checkpoint has behind it; it fills the supernet."""
        require(
            self.sampler.supernet is self.supernet,
            "paths",
            "those of the supernet that is trained",
            "those of another",
            "Make them with this supernet.",
        )
        self.sampler.restart()
        learner = self.learner
        if self.checkpoint is None or not Path(self.checkpoint).exists():
            return []
        return resume.read(Path(self.checkpoint), learner, self.terms)

    def plan(self) -> tuple[int, ProgressiveSettings]:
        """The stage to begin with, and the settings of the second stage.

        Checkpoints of all other stages are of this training's past, or of another training whose
        own checkpoint has been removed.
        """
        for stage in range(1 + self.supernet.space.blocks):
            if stage != self.sampler.stages:
                self.forget(stage)
        return self.sampler.stages, self.sampler.settings

    def enter(self, stage: int) -> None:
        """Go to a stage: 0, the largest path, or the number of a block, counted from 1."""
        self.sampler.enter(None if stage == 0 else stage - 1)

    def leave(self, stage: int, reports: list[EpochReport]) -> None:
        """Compare the choices of the block that was trained, and write the checkpoint."""
        self.sampler.leave()
        if self.checkpoint is None:
            return
        resume.write(Path(self.checkpoint), self.learner, self.terms, reports)
        self.forget(stage)

    @cached_property
    def learner(self) -> resume.Learner:
        """All that a checkpoint between two stages holds."""
        # Momentum does not outlive a stage, so that this optimizer never makes a step.
        optimizer = make_optimizer(self.supernet, self.settings)
        plain = PlainState(self.supernet)
        return resume.Learner(self.supernet, optimizer, self.sampler, plain)

    @cached_property
    def terms(self) -> dict[str, Any]:
        """The terms that a resumed training must have in common with the interrupted one."""
        task = classification_or(self.task, self.supernet.num_classes)
        count = Processes.current().count
        given = (self.supernet, self.images, self.settings, self.sampler, task, count)
        return resume.terms_of(*given)

    def beside(self, stage: int) -> Path | None:
        """The checkpoint of the epochs of a stage."""
        return None if self.checkpoint is None else stage_checkpoint(Path(self.checkpoint), stage)

    def forget(self, stage: int) -> None:
        """Remove the checkpoint of a stage that is done."""
        own = self.beside(stage)
        if own is not None:
            own.unlink(missing_ok=True)


@final
@dataclass(frozen=True)
class RandomPart:
    """Some training samples, others in each epoch.

    Args:
        images: that they are taken from.
        samples: how many.
    """

    images: TrainingImages
    samples: int

    def __len__(self) -> int:
        """The number of samples of an epoch."""
        return self.samples

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The first batches of an epoch of all samples, whose order is random."""
        every = self.images.batches(batch_size, seed=seed, epoch=epoch)
        return islice(every, max(1, self.samples // batch_size))


def part_of(images: TrainingImages, samples: int | None) -> TrainingImages:
    """So many training samples; all if `None`, or if there are no more."""
    return images if samples is None or samples >= len(images) else RandomPart(images, samples)


def stage_checkpoint(checkpoint: Path, stage: int) -> Path:
    """The checkpoint of the epochs of a stage, beside that of the stages."""
    return checkpoint.with_name(f"{checkpoint.name}.{stage}")


@final
@dataclass(frozen=True)
class Counted:
    """Reports of one stage, counted over all stages.

    Args:
        before: the epochs of the stages before.
        every: those of all stages.
        observer, step_observer: that are told; nobody if `None`.
    """

    before: int
    every: int
    observer: Callable[[EpochReport], None] | None
    step_observer: Callable[[StepReport], None] | None

    def epoch(self, report: EpochReport) -> None:
        """Tell of an epoch."""
        if self.observer is not None:
            self.observer(self.renumbered(report))

    def step(self, report: StepReport) -> None:
        """Tell of a step."""
        if self.step_observer is not None:
            epoch = self.before + report.epoch
            self.step_observer(replace(report, epoch=epoch, epochs=self.every))

    def renumbered(self, report: EpochReport) -> EpochReport:
        """The report of an epoch of the whole training."""
        return replace(report, epoch=self.before + report.epoch, epochs=self.every)
