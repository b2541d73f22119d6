"""The data sets that supernets are trained and searched on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import raynas
from raynas.errors import require
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

DIGITS = presets.DIGITS
QUICK_TRAINING = replace(DIGITS, batch_size=16, learning_rate=0.1)
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


def count(split: Sequence[Shard]) -> int:
    """The samples of a split in memory."""
    return sum(split[index].rows for index in range(len(split)))


def quick_digits(epochs: int) -> Source:
    """The digits for a quick run."""
    images = raynas.data.digits(calibration=100, validation=200, shard_size=50)
    return Source("digits", images, epochs, QUICK_TRAINING)


def open_source(
    name: DataName, folder: Path | None, images: tuple[int | None, int | None], epochs: int | None
) -> Source:
    """A data set on which everything is searched.

    Args:
        name: of the data set.
        folder: that holds its files; not needed for the digits, nor where Debian put them.
        images: for calibration and validation; as many as its experiment takes where `None`.
        epochs: of each training, for single paths; those of its preset if `None`.

    Raises:
        InputError: files that are not there, or more images than there are.
    """
    sizes = dict(zip(("calibration", "validation"), images, strict=True))
    given: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}

    def chosen(preset: raynas.TrainingSettings) -> int:
        return preset.epochs if epochs is None else epochs

    if name == "fashion_mnist":
        found = raynas.data.fashion_mnist(folder, **given)
        return Source(name, found, chosen(presets.FASHION_MNIST))
    if name == "digits":
        return Source(name, raynas.data.digits(**given), chosen(DIGITS), DIGITS)
    require(folder is not None, "data", f"the folder with the archive of {name}", None, "Give it.")
    assert folder is not None
    read = raynas.data.cifar10 if name == "cifar10" else raynas.data.cifar100
    return Source(name, read(folder, **given), chosen(presets.CIFAR), presets.CIFAR)
