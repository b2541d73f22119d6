"""Settings of a training as a value, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from raynas.errors import is_number, is_whole, require

if TYPE_CHECKING:
    import torch

SCHEDULES = ("linear", "cosine", "steps", "staircase", "constant")
"""Ways of the learning rate after the warm-up."""

OPTIMIZERS = ("sgd", "rmsprop")

STAIR, STAIR_EPOCHS = 0.97, 3
"""The share of the learning rate that a stair leaves, and its epochs (GreedyNAS, section 4.1)."""

ADDED: Mapping[str, Any] = {"optimizer": "sgd", "average": None}
"""Settings that earlier versions did not have, and what stands for training as these did."""


@final
@dataclass(frozen=True)
class TrainingSettings:
    """Gradient descent over single paths.

    Args:
        epochs: passes over the samples.
        batch_size: samples per step, of all processes together.
        learning_rate: the highest, at the end of the warm-up.
        momentum: of Nesterov's method, or RMSProp's; 0 turns it off.
        weight_decay: of weights with two or more dimensions; biases and batch norms have none.
        label_smoothing: the probability spread over all classes.
        warmup_epochs: over which the learning rate rises linearly; may be a fraction.
        schedule: how the learning rate then falls: to 0 by `"linear"` (SPOS) or `"cosine"`; or by
            `"steps"`, to a tenth after two fifths, and again after four (PONAS); or `"staircase"`,
            by 3 % every three epochs (GreedyNAS with squeeze-and-excitation); or `"constant"`,
            which stays (the fine-tuning of PONAS).
        clip: the largest norm of the gradient; any if `None`.
        seed: determines paths, batches, augmentation and dropout; the initial weights are those of
            the supernet that is given.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, …; a GPU where there is one if `None`. Of several
            processes that train together each takes its own GPU for `"cuda"` and `None`.
        alpha_decay: of clipping levels that are learned (PACT), and of whatever modules name in
            `raynas_decayed`; that of weights if `None`.
        optimizer: `"sgd"` (Nesterov's method) or `"rmsprop"`, with 0.9 of the mean square kept.
        average: the share that an exponential moving average of weights and batch-norm statistics
            keeps at each step; the training ends with that average. Without one if `None`.

    Raises:
        InputError: a value out of range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    warmup_epochs: float = 0.0
    schedule: Literal["linear", "cosine", "steps", "staircase", "constant"] = "linear"
    clip: float | None = None
    seed: int = 0
    device: str | None = None
    alpha_decay: float | None = None
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    average: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seed"):
            value = getattr(self, name)
            require(is_whole(value), name, "a whole number", repr(value), "Change the setting.")
        for name in ("learning_rate", "momentum", "weight_decay", "label_smoothing",
                     "warmup_epochs", "clip", "alpha_decay", "average"):  # fmt: skip
            value = getattr(self, name)
            optional = name in ("clip", "alpha_decay", "average")
            known = is_number(value) or (optional and value is None)
            require(known, name, "a number", repr(value), "Change the setting.")
        limits = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2, for batch norm"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a positive finite number"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "a finite number, at least 0"),
            (
                "alpha_decay",
                self.alpha_decay is None or 0 <= self.alpha_decay < math.inf,
                "a finite number, at least 0, or None",
            ),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, f"0 to {self.epochs} epochs"),
            ("schedule", self.schedule in SCHEDULES, " or ".join(map(repr, SCHEDULES))),
            ("clip", self.clip is None or 0 < self.clip < math.inf, "a positive number, or None"),
            ("seed", self.seed >= 0, "at least 0"),
            ("optimizer", self.optimizer in OPTIMIZERS, " or ".join(map(repr, OPTIMIZERS))),
            (
                "average",
                self.average is None or 0 < self.average < 1,
                "a number between 0 and 1, or None",
            ),
        )
        for name, valid, expected in limits:
            require(valid, name, expected, repr(getattr(self, name)), "Change the setting.")
        if self.device is not None:
            self.torch_device()

    def torch_device(self) -> torch.device:
        """The device to train on.

        Raises:
            InputError: no such device here.
        """
        # A command line shows these settings without the seconds that torch takes to load.
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        name = self.device or ("cuda" if gpus else "cpu")
        allowed = {"cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))}
        require(
            name in allowed,
            "device",
            f"one of {sorted(allowed)}",
            repr(name),
            "Name a device that is here, or none for the default.",
        )
        return torch.device(name)

    def terms(self) -> dict[str, Any]:
        """The settings that a training shares with one that it goes on with, as JSON.

        The device is not part of it, nor what earlier versions did not have, where it stands for
        what they did: their checkpoints still go on.
        """
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "device" and (name not in ADDED or value != ADDED[name])
        }

    def steps_of_epoch(self, samples: int) -> int:
        """The steps of one pass over so many samples."""
        return max(1, samples // self.batch_size)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of one step of the whole training.

        Args:
            step: counted from 0, over all epochs.
            steps: the number of steps of an epoch.
        """
        warmup = self.warmup_epochs * steps
        if step < warmup:
            return self.learning_rate * min(1.0, (step + 1) / warmup)
        if self.schedule == "constant":
            return self.learning_rate
        fraction = min(1.0, (step - warmup) / (self.epochs * steps - warmup))
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fraction))
        if self.schedule == "steps":
            # Exact where they fall on a step: 0.4 * 5 and 0.8 * 5 are whole as floats.
            return self.learning_rate / 10 ** int(fraction * 5 // 2)
        if self.schedule == "staircase":
            # A warm-up of 4.4 epochs may end a rounding after its last step.
            stairs = (step - warmup) / (STAIR_EPOCHS * steps) + 1e-9
            return self.learning_rate * STAIR ** int(stairs)
        return self.learning_rate * (1 - fraction)
