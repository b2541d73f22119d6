"""`Task`: how outputs and targets become a score to maximise and a loss for each sample.

Classification is the default. Another metric is a function of outputs and targets:

    def closeness(outputs, targets):
        errors = (outputs[:, 0] - targets).abs()
        return -errors, errors**2  # a score and a loss for each sample

    raynas.search(supernet, data, task=raynas.PerSample(closeness), …)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from raynas.errors import InputError, is_whole, require

if TYPE_CHECKING:
    from torch import Tensor

PerSampleFunction = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor]"]
"""From outputs `[n, …]` and targets `[n, …]` to a score and a loss for each sample, `[n]` each."""


RECORDED = frozenset((
    "architecture", "correct", "loss", "finite", "samples", "objectives", "flops", "params",
    "costs", "names", "front", "strategy", "finished", "generations", "evaluations",
    "legal_architectures", "frozen", "seconds", "final_seconds", "replay_seconds", "busy",
    "busy_seconds", "utilisation", "gpu_hours", "energy_j", "energy_source", "energy_missing",
    "co2_g", "co2_g_per_kwh", "workers", "seed", "skipped_images", "not_finite", "finalists",
    "inputs", "batch", "not_written", "retraining", "versions", "tested_samples",
))  # fmt: skip
"""Names of other things in the records of scores and results, where objectives stand by theirs."""


class Task(ABC):
    """The purpose of a network, as a value that is pickled to the workers.

    `objectives` names the numbers of a sample; a search maximises the mean of the first.
    """

    @property
    @abstractmethod
    def objectives(self) -> tuple[str, ...]:
        """The names of the numbers that `judge` gives, the one to maximise first."""

    @abstractmethod
    def judge(self, outputs: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Numbers and losses of k candidates on n samples.

        Args:
            outputs: `[k, n, …]`.
            targets: `[n, …]`.

        Returns:
            For each objective `[k, n]`, bool or float32, and the losses, `float32[k, n]`.
        """

    @abstractmethod
    def training_loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
        """The mean loss of one batch as a scalar with a gradient.

        Args:
            outputs: `[n, …]`.
            targets: `[n, …]`.
            smoothing: label smoothing; for tasks without labels it means nothing.
        """

    @abstractmethod
    def require_outputs(self, shape: Sequence[int], argument: str) -> None:
        """Raise `InputError` unless `[n, …]` can be the shape of a head's output."""

    @abstractmethod
    def require_targets(self, targets: np.ndarray, argument: str) -> None:
        """Raise `InputError` unless `[n, …]` are targets of this task."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """A JSON object for `config.json`; equal for equal tasks only, as far as can be seen."""


@final
@dataclass(frozen=True)
class Classification(Task):
    """One label for each sample: top-1, top-5 and cross-entropy.

    Args:
        num_classes: labels are `0 … num_classes - 1`.

    Raises:
        InputError: fewer than two classes, among which there is nothing to decide.
    """

    num_classes: int

    def __post_init__(self) -> None:
        require(
            is_whole(self.num_classes) and self.num_classes >= 2,
            "num_classes",
            "at least 2",
            repr(self.num_classes),
            "With one logit every sample counts as correct: give one for each class, or another "
            "task (raynas.PerSample).",
        )

    @property
    def objectives(self) -> tuple[str, ...]:
        """Whether the label has the largest logit, and whether it is among the five largest."""
        return ("top1", "top5")

    def judge(self, outputs: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Hits and cross-entropies; see `Task.judge`."""
        import torch
        from torch.nn import functional

        logits = outputs.to(torch.float32)
        candidates, samples, classes = logits.shape
        best = logits.topk(min(5, classes), dim=2).indices
        hits = best == targets[:, None]
        labels = targets.expand(candidates, samples).reshape(-1)
        losses = functional.cross_entropy(logits.reshape(-1, classes), labels, reduction="none")
        found = {"top1": hits[:, :, 0], "top5": hits.any(2)}
        return found, losses.view(candidates, samples)

    def training_loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
        """The mean cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def require_outputs(self, shape: Sequence[int], argument: str) -> None:
        """Raise `InputError` unless there is one logit for each class."""
        require(
            len(shape) == 2 and shape[1] == self.num_classes,
            argument,
            f"logits of shape (n, {self.num_classes}), one for each class",
            tuple(shape),
            "Make the head end in one logit per class.",
        )

    def require_targets(self, targets: np.ndarray, argument: str) -> None:
        """Raise `InputError` unless they are class indices."""
        require(
            targets.ndim == 1 and targets.dtype.kind in "iu",
            argument,
            "one class index for each sample, integers [n]",
            f"{targets.dtype} {list(targets.shape)}",
            "Give the index of the class, not one-hot vectors or names.",
        )
        outside = (targets < 0) | (targets >= self.num_classes)
        require(
            not outside.any(),
            argument,
            f"0 to {self.num_classes - 1}, one of {self.num_classes} classes",
            f"{int(outside.sum())} others, the first {targets[outside][:5].tolist()}",
            "Number the classes from 0, give the right num_classes, and leave out samples that are "
            "to be ignored.",
        )

    def description(self) -> dict[str, Any]:
        """The name and the number of classes."""
        return {"task": "classification", "num_classes": int(self.num_classes)}


def classification_or(task: Task | None, num_classes: int | None) -> Task:
    """The task, or classification where none is given.

    Args:
        task: as the user gives it.
        num_classes: of the supernet.

    Raises:
        InputError: something that is no task, or neither a task nor classes.
    """
    require(
        task is None or isinstance(task, Task),
        "task",
        "a raynas.Task, such as raynas.PerSample(function)",
        repr(task),
        "Wrap a function of outputs and targets as raynas.PerSample(function).",
    )
    require(
        task is not None or num_classes is not None,
        "task",
        "a task, for a supernet without num_classes",
        None,
        "Give task=raynas.PerSample(function), or build the supernet with num_classes.",
    )
    judged = Classification(num_classes) if task is None else task  # type: ignore[arg-type]
    require_names(judged.objectives, "task", RECORDED)
    return judged


def require_names(names: Sequence[str], argument: str, taken: Set[str]) -> None:
    """Raise `InputError` unless names of objectives are distinct words that are not taken."""
    words = [each for each in names if isinstance(each, str) and each.isidentifier()]
    held = [each for each in words if each in taken or each.startswith("test_")]
    require(
        len(names) > 0 and len(set(words)) == len(names) and not held,
        argument,
        f"a name that records have no other use for (none of {', '.join(sorted(taken))}, test_…)",
        ", ".join(map(repr, held or names)) or "none",
        "Give the score another name, one word.",
    )


@final
@dataclass(frozen=True)
class PerSample(Task):
    """Any task that a function can judge sample by sample: regression, segmentation, ranking.

    Args:
        function: gives a score (larger is better) and a loss for each sample, `[n]` each, from
            outputs `[n, …]` and targets `[n, …]`. On Ray it must be importable by the workers, or
            defined in the script. The loss is what training minimises.
        name: of the mean score, in tables and records.
    """

    function: PerSampleFunction
    name: str = "score"

    def __post_init__(self) -> None:
        require(
            callable(self.function),
            "task",
            "a function of outputs and targets",
            repr(self.function),
            "Give a function that returns a score and a loss for each sample.",
        )
        require_names((self.name,), "name", {*RECORDED, "top1", "top5"})

    @property
    def objectives(self) -> tuple[str, ...]:
        """The name of the score."""
        return (self.name,)

    def judge(self, outputs: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Call the function for one candidate after the other; see `Task.judge`."""
        import torch

        pairs = [self._numbers(each, targets) for each in outputs]
        scores, losses = (torch.stack(column) for column in zip(*pairs, strict=True))
        return {self.name: scores}, losses

    def training_loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float) -> Tensor:
        """The mean of the function's losses."""
        return self._numbers(outputs, targets)[1].mean()

    def require_outputs(self, shape: Sequence[int], argument: str) -> None:
        """Anything is fine: the function says what it can use."""

    def require_targets(self, targets: np.ndarray, argument: str) -> None:
        """Raise `InputError` if targets are not finite."""
        require(
            targets.dtype.kind != "f" or bool(np.isfinite(targets).all()),
            argument,
            "finite targets",
            "some that are not",
            "Leave out samples without a target.",
        )

    def description(self) -> dict[str, Any]:
        """The name of the score and of the function."""
        kind = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return {"task": "per sample", "name": self.name, "function": kind.__qualname__}

    def _numbers(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        # A copy, since functions mark samples in place: targets[targets == 255] = 0.
        given = self.function(outputs, targets.clone())
        if not (
            isinstance(given, tuple | list)
            and len(given) == 2
            and all(isinstance(each, torch.Tensor) for each in given)
            and all(tuple(each.shape) == (len(targets),) for each in given)
            and not any(each.is_complex() for each in given)
        ):
            shown = given if isinstance(given, tuple | list) else [given]
            raise InputError(
                "task",
                f"a score and a loss for each of {len(targets)} samples, two real tensors [n]",
                ", ".join(
                    f"{type(each).__name__} {list(getattr(each, 'shape', ()))}" for each in shown
                ),
                "Return (scores, losses), reduced over all dimensions but the first.",
            )
        scores, losses = (each.to(torch.float32) for each in given)
        return scores, losses
