"""A training under way, and what it keeps of itself after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from raynas.data.splits import TrainingImages
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import PlainState
from raynas.task import Task
from raynas.training import resume
from raynas.training.paths import PathSampler
from raynas.training.processes import ALONE, Processes
from raynas.training.progress import EpochReport
from raynas.training.settings import TrainingSettings
from raynas.training.weight_average import WeightAverage


@final
@dataclass(frozen=True)
class Training:
    """A training under way.

    Args:
        supernet: on its device and in training mode.
        task: to be learned.
        settings: how.
        sampler: which paths each step updates.
        optimizer: over the supernet's parameters.
        processes: that train together.
        average: of its weights, in the first process, where the training ends with one.
        model: the supernet in what synchronises its gradients; itself alone if `None`.
    """

    supernet: ChainSupernet
    task: Task
    settings: TrainingSettings
    sampler: PathSampler
    optimizer: torch.optim.Optimizer
    processes: Processes = ALONE
    average: WeightAverage | None = None
    model: nn.Module | None = None


@final
class Course:
    """The checkpoint and the reports of a training, in its first process.

    Args:
        training: on its device.
        images, checkpoint, observer: as those of `train`.
    """

    def __init__(
        self,
        training: Training,
        images: TrainingImages,
        checkpoint: str | Path | None,
        observer: Callable[[EpochReport], None] | None,
    ) -> None:
        self._training = training
        self._images = images
        self._file = None if checkpoint is None else Path(checkpoint)
        self._observer = observer
        self._terms: dict[str, Any] = {}
        self.plain: PlainState | None = None
        """The supernet's plain attributes, where there is a checkpoint."""

    def resumed(self) -> list[EpochReport]:
        """The reports in the checkpoint, if there is one already, which fills the supernet.

        Raises:
            InputError: it is of another training.
        """
        if self._file is None:
            return []
        own = self._training
        self._terms = resume.terms_of(
            own.supernet, self._images, own.settings, own.sampler, own.task, own.processes.count
        )
        self.plain = PlainState(own.supernet)
        return resume.read(self._file, self._learner, self._terms) if self._file.exists() else []

    def end_epoch(self, reports: list[EpochReport]) -> None:
        """Write the checkpoint, and tell the observer."""
        if self._file is not None:
            resume.write(self._file, self._learner, self._terms, reports)
        if self._observer is not None:
            self._observer(reports[-1])

    @property
    def _learner(self) -> resume.Learner:
        assert self.plain is not None
        own = self._training
        return resume.Learner(own.supernet, own.optimizer, own.sampler, self.plain, own.average)
