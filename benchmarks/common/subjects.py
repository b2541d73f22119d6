"""The supernets that are measured, their data, and searches that are recorded on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

import raynas
from raynas.commands import supernet_training
from raynas.commands.families import build_family
from raynas.commands.named_strategies import StrategyName, make_strategy
from raynas.commands.paths import PathsName
from raynas.report.read import read_run
from raynas.runlog import RESULT
from raynas.training import presets

System = Literal["spos", "proxylessnas", "fairnas", "greedynas"]

PATHS: Mapping[str, PathsName] = {"fairnas": "fair", "greedynas": "greedy"}
"""The paths that a system is trained on, where they are not uniform."""

HOME = Path("runs/fashion_mnist")
SUPERNET = HOME / "supernet.safetensors"
QUICK_HOME = Path("runs/benchmarks/quick")
QUICK_TRAINING = replace(presets.DIGITS, epochs=12, batch_size=16, learning_rate=0.1)
"""Enough for architectures to differ, and no more."""

THRESHOLD = 0.5

FILTER_SAMPLES = 100
"""Images that greedy paths are compared on: beside batches of 64 about the paper's ratio."""


@dataclass(frozen=True)
class Source:
    """A trained supernet and its data, which every process finds for itself.

    The 12-block supernet of `experiments/fashion_mnist_spos.py`, or of the experiment of another
    system; with `quick`, one of the handwritten digits, trained for twelve epochs, which takes
    seconds and downloads nothing.

    Args:
        calibration: images for batch-norm statistics.
        validation: images that candidates are scored on.
        weights: the trained weights; trained first if the file is missing. If `None`, those of the
            experiment, or of all quick runs.
        folder: with the four idx files of Fashion-MNIST; Debian's if `None`.
        quick: the digits; `folder` does not count.
        system: the paper's supernet.
        epochs: of its training; the preset's if `None`.
    """

    calibration: int
    validation: int
    weights: Path | None = None
    folder: Path | None = None
    quick: bool = False
    system: System = "spos"
    epochs: int | None = None

    @property
    def home(self) -> Path:
        """The folder of what is recorded on these images."""
        name = f"recorded-{self.calibration}-{self.validation}"
        return QUICK_HOME / name if self.quick else home_of(self.system) / name

    @property
    def constraint(self) -> raynas.FLOPs:
        """A limit that excludes much of the space."""
        if self.system != "spos":
            return raynas.FLOPs(at_most="60%")
        return raynas.FLOPs(at_most=680e3 if self.quick else 3.1e6)

    def open(self) -> tuple[raynas.ChainSupernet, raynas.data.SearchData]:
        """The supernet, trained, and its data."""
        if self.quick:
            return self._open_digits()
        images = raynas.data.fashion_mnist(
            self.folder, calibration=self.calibration, validation=self.validation
        )
        torch.manual_seed(0)
        supernet = build_family(self.system, images)
        fair = self.system == "fairnas"
        preset = presets.FASHION_MNIST_FAIR if fair else presets.FASHION_MNIST
        changes = {} if self.epochs is None else {"epochs": self.epochs}
        paths = PATHS.get(self.system, "uniform")
        supernet_training.train_or_load(
            supernet, images, supernet_training.adjust(preset, **changes),
            self.weights or home_of(self.system) / SUPERNET.name,
            paths=paths, filter_samples=FILTER_SAMPLES if paths == "greedy" else None,
        )  # fmt: skip
        return supernet, images

    def _open_digits(self) -> tuple[raynas.ChainSupernet, raynas.data.SearchData]:
        images = raynas.data.digits(
            calibration=self.calibration, validation=self.validation, shard_size=50
        )
        torch.manual_seed(0)
        supernet = build_family(self.system, images)
        # Other splits leave other images to train on.
        stem = "supernet" if self.system == "spos" else self.system
        shared = QUICK_HOME / f"{stem}-{self.calibration}-{self.validation}.safetensors"
        weights = self.weights or shared
        supernet_training.train_or_load(supernet, images, QUICK_TRAINING, weights)
        return supernet, images


@dataclass(frozen=True)
class Subject:
    """What a benchmark measures, and where its numbers go.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        quick: the handwritten digits, and less of everything, as the top of the script says.
        supernet: the trained weights; trained first if the file is missing. Where it is omitted,
            they are those of the system's experiment, or with `quick` those of all quick runs.
        data: the folder with the four idx files of Fashion-MNIST; Debian's if omitted.
        system: the paper's supernet: spos, proxylessnas, fairnas or greedynas.
        epochs: of its training; the preset's if omitted.
    """

    json: Path
    quick: bool = False
    supernet: Path | None = None
    data: Path | None = None
    system: System = "spos"
    epochs: int | None = None

    def source(self, calibration: int, validation: int) -> Source:
        """So many images, or with `quick` 200 + 300 of the digits.

        Quick runs share one supernet unless they name one, so that only the first of them trains.
        """
        if self.quick:
            return Source(200, 300, self.supernet, quick=True, system=self.system)
        return Source(
            calibration, validation, self.supernet, self.data,
            system=self.system, epochs=self.epochs,
        )  # fmt: skip


def home_of(system: System) -> Path:
    """The folder of a system's experiment on Fashion-MNIST."""
    return HOME if system == "spos" else HOME.with_name(f"{HOME.name}_{system}")


def recorded_search(
    source: Source,
    name: StrategyName,
    *,
    seed: int = 0,
    threshold: float = THRESHOLD,
    workers: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The generations of a whole search under the full protocol, searched as far as missing.

    Args:
        source: of the supernet and the images.
        name: of the strategy.
        seed: of the search.
        threshold: of the strategy.
        workers: Ray actors that a missing one is searched with; 0 for this process.
        options: of the strategy, such as its population.

    Returns:
        The records of `generations.jsonl`: of each generation the `prefix`, and under `rescored`
        and `population` the architectures with their scores.

    Raises:
        InputError: the folder holds another search.
    """
    supernet, images = source.open()
    home = source.home if threshold == THRESHOLD else source.home / f"threshold-{threshold}"
    parts = (name, *(f"{key}{value}" for key, value in options.items()), f"seed{seed}")
    run_dir = home / "-".join(parts)
    raynas.search(
        supernet,
        images,
        strategy=make_strategy(name, threshold=threshold, **options),
        constraint=source.constraint,
        run_dir=run_dir,
        workers=0 if (run_dir / RESULT).exists() else workers,
        seed=seed,
        resume=True,
    )
    return read_run(run_dir).generations
