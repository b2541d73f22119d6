"""Reports of a training, and the meter that adds them up without holding up the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
class TrainingDivergedError(RuntimeError):
    """The loss is no longer finite; the checkpoint of the last whole epoch is still there."""


@final
@dataclass(frozen=True)
class StepReport:
    """One training step.

    Args:
        epoch: counted from 1.
        epochs: how many there will be.
        step: of the epoch, counted from 1.
        steps: how many the epoch will have.
        loss: mean of the batch over the step's paths: cross-entropy in nats, or the task's own.
        learning_rate: of the step.
        images_per_second: samples of any kind, since the epoch began.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float


@final
@dataclass(frozen=True)
class EpochReport:
    """One epoch of training.

    Args:
        epoch: counted from 1.
        epochs: how many there will be.
        loss: mean over the epoch's steps: cross-entropy in nats, label smoothing included, or the
            task's own.
        accuracy: mean of the task's first objective over the training samples: of classification
            the share, 0 to 1, that the sampled paths got right.
        learning_rate: of the last step.
        seconds: wall time.
        images_per_second: samples of any kind over wall time; one counts once, however many paths
            saw it.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float


@final
class EpochMeter:
    """Adds up one epoch.

    A step's loss is read only when the next step has been queued, so that a GPU never waits.

    Args:
        epoch: counted from 0.
        epochs: how many there will be.
        steps: expected in this epoch.
        observer: called with each step's report, one step late.
    """

    def __init__(
        self, epoch: int, epochs: int, steps: int, observer: Callable[[StepReport], None] | None
    ) -> None:
        self.epoch = epoch + 1
        self.epochs = epochs
        self.steps = steps
        self.observer = observer
        self.started = time.perf_counter()
        self.unread: tuple[Tensor, int, float] | None = None
        self.seen_steps = 0
        self.seen_images = 0
        self.loss_sum = 0.0
        self.correct_sum = 0.0
        self.learning_rate = 0.0

    def add(self, loss: Tensor, correct: Tensor, images: int, learning_rate: float) -> None:
        """Count one step.

        Args:
            loss: mean over the batch and the step's paths, on the device.
            correct: how many of the images were right, a mean over the paths, on the device.
            images: in the batch.
            learning_rate: of the step.

        Raises:
            TrainingDivergedError: the loss of the step before is not finite.
        """
        previous, self.unread = self.unread, (torch.stack((loss, correct)), images, learning_rate)
        if previous is not None:
            self._read(*previous)

    def report(self) -> EpochReport:
        """The whole epoch, after its last step.

        Raises:
            TrainingDivergedError: the loss of the last step is not finite.
        """
        if self.unread is not None:
            self._read(*self.unread)
            self.unread = None
        seconds = time.perf_counter() - self.started
        return EpochReport(
            epoch=self.epoch,
            epochs=self.epochs,
            loss=self.loss_sum / self.seen_steps,
            accuracy=self.correct_sum / self.seen_images,
            learning_rate=self.learning_rate,
            seconds=seconds,
            images_per_second=self.seen_images / seconds,
        )

    def _read(self, measured: Tensor, images: int, learning_rate: float) -> None:
        loss, correct = measured.tolist()
        self.seen_steps += 1
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"The loss of epoch {self.epoch}, step {self.seen_steps} is {loss}. Lower the "
                "learning rate, lengthen the warm-up or clip the gradient."
            )
        self.seen_images += images
        self.loss_sum += loss
        self.correct_sum += correct
        self.learning_rate = learning_rate
        if self.observer is not None:
            seconds = time.perf_counter() - self.started
            self.observer(
                StepReport(
                    epoch=self.epoch,
                    epochs=self.epochs,
                    step=self.seen_steps,
                    steps=self.steps,
                    loss=loss,
                    learning_rate=learning_rate,
                    images_per_second=self.seen_images / seconds,
                )
            )
