"""The small Fashion-MNIST supernet whose every architecture is scored: 4,096 of six blocks.

A supernet of its own, since the 12-block one of the experiments has 16 million architectures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from exhaustive import Table, build, cut, describe
from rich.console import Console

import raynas
from raynas import workflow
from raynas.data.shard import Shard

HOME = Path("runs/fashion_mnist/regret")
STAGES = ((32, 2, 1), (64, 2, 2), (128, 2, 2))
SHARD_SIZE = 125


@dataclass(frozen=True)
class Size:
    """How large the splits are, and how long the supernet is trained.

    Args:
        calibration: images for batch-norm statistics, at most.
        validation: images that candidates are scored on.
        train: images that the supernet is trained on.
        epochs: of the training.
    """

    calibration: int = 2_000
    validation: int = 2_000
    train: int = 50_000
    epochs: int = 12


FULL = Size()
QUICK = Size(calibration=250, validation=250, train=4_000, epochs=2)


@dataclass(frozen=True)
class Bench:
    """A trained supernet, its data, and where its tables are.

    Args:
        supernet: trained.
        data: the splits.
        size: of the splits.
        home: the folder of the tables.
    """

    supernet: raynas.ChainSupernet
    data: raynas.data.SearchData
    size: Size
    home: Path

    @property
    def validation(self) -> list[Shard]:
        """The validation shards, the same under every protocol."""
        return list(self.data.validation)

    def calibration(self, images: int, shard_size: int = SHARD_SIZE) -> list[Shard]:
        """The first calibration images, in shards of a size."""
        return cut(self.data.calibration, images, shard_size)

    def table(
        self, images: int, shard_size: int = SHARD_SIZE, *, workers: int = 0, **options: Any
    ) -> Table:
        """The table under one protocol; built if its file is missing.

        Args:
            images: for calibration.
            shard_size: how many of them are normalised together.
            workers: Ray actors that build it.
            options: of `Evaluation`.
        """
        settings = raynas.Evaluation(device="cpu", **options)
        name = "-".join([f"calibration{images}x{shard_size}", *map(str, options.values())])
        path = self.home / f"{name}.npz"
        splits = (self.calibration(images, shard_size), self.validation)
        if path.exists():
            return Table.load(path, {**describe(self.supernet, *splits, settings), **options})
        console = Console()
        total = self.supernet.space.count()

        def progress(done: int) -> None:
            console.print(f"{path.name}: {done:,} of {total:,} architectures", end="\r")

        table = build(self.supernet, *splits, settings, workers=workers, progress=progress)
        table = replace(table, protocol={**table.protocol, **options})
        table.save(path)
        console.print(f"{path.name}: {total:,} architectures scored")
        return table


def open_bench(home: Path, folder: Path | None, size: Size) -> Bench:
    """The small supernet, trained first if its file is missing, and its data.

    Args:
        home: the folder of its weights and tables.
        folder: with the four idx files; Debian's if `None`.
        size: of the splits.
    """
    images = raynas.data.fashion_mnist(
        folder, calibration=size.calibration, validation=size.validation, train=size.train,
        shard_size=SHARD_SIZE,
    )  # fmt: skip
    torch.manual_seed(0)
    supernet = raynas.supernets.spos_28x28(images.num_classes, stages=STAGES, head_channels=128)
    preset = replace(raynas.training.presets.FASHION_MNIST, epochs=size.epochs)
    workflow.train_or_load(supernet, images, preset, home / "supernet.safetensors")
    return Bench(supernet, images, size, home)
