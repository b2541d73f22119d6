"""The data sets that supernets are trained and searched on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import raynas
from raynas.files import Record
from raynas.shards.shard import Shard
from raynas.training import presets

DataName = Literal["fashion_mnist", "digits", "cifar10", "cifar100"]

LABELS: dict[DataName, str] = {
    "fashion_mnist": "Fashion-MNIST",
    "digits": "handwritten digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}

QUICK_TRAINING = replace(presets.DIGITS, batch_size=16, learning_rate=0.1)
"""For few epochs on the digits: enough for architectures to differ, and no more."""


@final
@dataclass(frozen=True)
class Source:
    """A data set, and how supernets are trained on it.

    Args:
        name: of the data set.
        images: its splits.
        epochs: of a training, for single paths.
        training: its settings; those of each family if `None`.
    """

    name: DataName
    images: raynas.data.SearchData
    epochs: int
    training: raynas.TrainingSettings | None = None

    @property
    def calibration(self) -> int:
        """The images that batch norm is recalibrated on."""
        return count(self.images.calibration)

    @property
    def validation(self) -> int:
        """The images that steer the searches."""
        return count(self.images.validation)

    def record(self) -> Record:
        """The data set as a report tells it."""
        sizes = {"calibration": self.calibration, "validation": self.validation}
        sizes["test"] = count(self.images.test)
        return {"name": self.name, "label": LABELS[self.name], "epochs": self.epochs, **sizes}


def count(split: object) -> int:
    """The samples of a split in memory."""
    shards: list[Shard] = list(split)  # type: ignore[call-overload]
    return sum(shard.rows for shard in shards)


def quick_digits(epochs: int) -> Source:
    """The digits for a quick run."""
    images = raynas.data.digits(calibration=100, validation=200, shard_size=50)
    return Source("digits", images, epochs, QUICK_TRAINING)


def fashion(folder: Path | None, calibration: int, validation: int, epochs: int) -> Source:
    """Fashion-MNIST, which everything is searched on."""
    images = raynas.data.fashion_mnist(folder, calibration=calibration, validation=validation)
    return Source("fashion_mnist", images, epochs)


def others(cifar: Path | None, calibration: int, validation: int) -> list[Source]:
    """The data sets of Table 2 beside the first.

    Args:
        cifar: the folder of the archives of CIFAR-10 and CIFAR-100; without it, they are left out.
        calibration, validation: images of CIFAR.
    """
    found = [Source("digits", raynas.data.digits(), presets.DIGITS.epochs, presets.DIGITS)]
    if cifar is None:
        return found
    readers: dict[DataName, Callable[..., raynas.data.SearchData]] = {
        "cifar10": raynas.data.cifar10,
        "cifar100": raynas.data.cifar100,
    }
    for name, read in readers.items():
        images = read(cifar, calibration=calibration, validation=validation)
        found.append(Source(name, images, presets.CIFAR.epochs, presets.CIFAR))
    return found
