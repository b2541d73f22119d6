"""The supernets that are searched: the small one of each paper, its limit, training and thresholds.

Trainings cost alike: `epochs` counts passes over the images for single paths. A step of FairNAS
trains six paths, and PONAS fine-tunes its blocks after the largest path, so that they get a sixth
and a quarter of the epochs, as in their presets. On the few images of the digits a sixth would be
too few steps to learn anything, so that FairNAS gets half, and costs three times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch

import raynas
from raynas.commands import supernet_training
from raynas.commands.families import build_family
from raynas.commands.paths import PathsName
from raynas.evolution import presets as freezing
from raynas.evolution.presets import ChoiceFreezing
from raynas.training import presets
from reproduction.sources import DataName, Source

FILTER_SAMPLES = 100
"""Images that greedy paths are compared on: beside batches of 64 about the paper's ratio."""

LOW = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HIGH = (0.5, 0.6, 0.7, 0.8, 0.9)


@final
@dataclass(frozen=True)
class Family:
    """One supernet, the way it is trained, and what is searched in it.

    Args:
        name: one of `raynas.commands.families.FAMILIES`.
        label: its name on the page.
        freezing: the thresholds of PCF-ES's Table 1, or those of the nearest of its systems.
        thresholds: that Figure 9 varies.
        sampled: the threshold where samples and bits are varied, which counts only behind a
            freeze: one at which the small supernet freezes in most searches.
        limits: what is legal, by data set; 60 % of the largest architecture's FLOPs elsewhere.
        paths: that its training updates.
        divisor: of the epochs, as the top of this file says.
        digits_divisor: that on the digits, if it is another one.
        rate: its share of the learning rate, where the settings are those of the data set.
        training: the settings, where the data set has none of its own.
        options: others of the training, by data set.
        in_paper: whether the PCF-ES paper searches it.
    """

    name: str
    label: str
    freezing: ChoiceFreezing
    thresholds: tuple[float, ...]
    sampled: float
    limits: Mapping[DataName, raynas.FLOPs | raynas.BitOps] = field(default_factory=dict)
    paths: PathsName = "uniform"
    divisor: int = 1
    digits_divisor: int | None = None
    rate: float = 1.0
    training: raynas.TrainingSettings = presets.FASHION_MNIST
    options: Mapping[DataName, Mapping[str, Any]] = field(default_factory=dict)
    in_paper: bool = False

    def settings(self, source: Source) -> raynas.TrainingSettings:
        """The settings of its training on a data set.

        Raises:
            InputError: a number of epochs that is none.
        """
        few = self.digits_divisor if source.name == "digits" else None
        divisor = self.divisor if few is None else few
        epochs = max(1, round(source.epochs / divisor)) if source.epochs > 0 else source.epochs
        preset = self.training
        if source.training is not None:
            rate = source.training.learning_rate * self.rate
            preset = replace(source.training, learning_rate=rate)
        return supernet_training.adjust(preset, epochs=epochs)

    def limit(self, data: DataName) -> raynas.FLOPs | raynas.BitOps:
        """The limit on a data set: a share of the largest architecture if nothing is stated."""
        return self.limits.get(data, raynas.FLOPs(at_most="60%"))

    def build(self, source: Source) -> raynas.ChainSupernet:
        """The supernet for a data set, untrained."""
        torch.manual_seed(0)
        return build_family(self.name, source.images)

    def open(self, source: Source, weights: Path) -> raynas.ChainSupernet:
        """The supernet for a data set, trained unless its weights are there.

        Args:
            source: to train and to search on.
            weights: the file to read or to write.

        Raises:
            InputError: as the training, or weights that do not fit.
        """
        supernet = self.build(source)
        supernet_training.train_or_load(
            supernet, source.images, self.settings(source), weights,
            paths=self.paths,
            filter_samples=FILTER_SAMPLES if self.paths == "greedy" else None,
            **self.options.get(source.name, {}),
        )  # fmt: skip
        return supernet


FAMILIES = (
    Family(
        "spos",
        "SPOS",
        freezing.SPOS,
        HIGH,
        0.5,
        {"fashion_mnist": raynas.FLOPs(at_most=3.1e6), "digits": raynas.FLOPs(at_most=680e3)},
        in_paper=True,
    ),
    Family(
        "fairnas",
        "FairNAS",
        freezing.FAIRNAS,
        LOW,
        0.4,
        paths="fair",
        divisor=6,
        digits_divisor=2,
        rate=1 / 3,
        training=presets.FASHION_MNIST_FAIR,
        in_paper=True,
    ),
    Family("greedynas", "GreedyNAS", freezing.GREEDYNAS, LOW, 0.4, paths="greedy", in_paper=True),
    Family("proxylessnas", "ProxylessNAS", freezing.GREEDYNAS, LOW, 0.4),
    Family(
        "spos-channels",
        "channels (SPOS)",
        freezing.SPOS,
        HIGH,
        0.5,
        {"fashion_mnist": raynas.FLOPs(at_most=2.8e6), "digits": raynas.FLOPs(at_most=680e3)},
    ),
    Family(
        "resnet-mixed",
        "mixed precision (SPOS)",
        freezing.SPOS,
        HIGH,
        0.5,
        {
            "fashion_mnist": raynas.BitOps(at_most="25%"),
            "digits": raynas.BitOps(at_most="25%"),
        },
    ),
    Family(
        "ponas",
        "PONAS",
        freezing.FAIRNAS,
        LOW,
        0.4,
        paths="progressive",
        divisor=4,
        rate=1 / 3,
        training=presets.FASHION_MNIST_PROGRESSIVE,
        options={
            "fashion_mnist": {"progressive": {"block_epochs": 1, "block_samples": 3_200}},
            "digits": {"progressive": {"block_epochs": 1, "block_samples": 320}},
        },
    ),
)
"""In the order in which they are searched: those of the paper first."""
