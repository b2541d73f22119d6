"""The small supernets whose every architecture is scored, and their tables.

Supernets of their own, since the 12-block one of the experiments has 16 million architectures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from common.subjects import HOME as FASHION
from common.subjects import QUICK_HOME, QUICK_TRAINING
from rich.console import Console
from table_pool import write_ledger

import raynas
from raynas.commands import supernet_training
from raynas.testing.tables import Table, build_table, describe_table
from raynas.training import presets

HOME = FASHION / "regret"
QUICK = QUICK_HOME / "regret"
LEDGER = "ledger.sqlite"


@dataclass(frozen=True)
class Bench:
    """A trained supernet, its data, and where its tables are.

    Args:
        supernet: trained.
        data: the splits.
        home: the folder of the tables.
    """

    supernet: raynas.ChainSupernet
    data: raynas.data.SearchData
    home: Path

    @property
    def calibration(self) -> int:
        """The number of calibration images."""
        return sum(shard.rows for shard in self.data.calibration)

    def table(self, settings: raynas.Evaluation, *, workers: int = 0) -> Table:
        """The table under the protocol of unfrozen candidates; built if its file is missing.

        A table that is built is also added to the ledger beside it.

        Args:
            settings: what is sampled or quantized behind a prefix does not matter here.
            workers: Ray actors that build it.
        """
        protocol = unfrozen(settings)
        path = self.home / f"{file_name(protocol)}.npz"
        if path.exists():
            return Table.load(path, describe_table(self.supernet, self.data, protocol))
        console = Console()
        total = self.supernet.space.count()

        def progress(done: int) -> None:
            console.print(f"{path.name}: {done:,} of {total:,} architectures")

        table = build_table(self.supernet, self.data, protocol, workers=workers, progress=progress)
        write_ledger(table, self.supernet, self.data, protocol, self.home / LEDGER)
        table.save(path)
        return table


def unfrozen(settings: raynas.Evaluation) -> raynas.Evaluation:
    """The part of a protocol that matters to candidates that are scored from the images on."""
    return raynas.Evaluation(
        device=settings.device,
        batch_norm=settings.batch_norm,
        precision=settings.precision,
        fold_batch_norm=settings.fold_batch_norm,
        calibration_images=settings.calibration_images,
    )


def file_name(settings: raynas.Evaluation) -> str:
    """The name of a table: the settings that are not the default."""
    images = settings.calibration_images
    parts = [f"calibration-{images}" if images is not None else "full"]
    parts += [settings.precision] if settings.precision != "float32" else []
    parts += ["folded"] if settings.fold_batch_norm else []
    return "-".join(parts)


def open_bench(folder: Path | None = None) -> Bench:
    """The space of six blocks on Fashion-MNIST, its supernet trained first if it is missing.

    Args:
        folder: with the four idx files; Debian's if `None`.
    """
    images = raynas.data.fashion_mnist(
        folder, calibration=2_000, validation=2_000, train=50_000, shard_size=125
    )
    torch.manual_seed(0)
    stages = ((32, 2, 1), (64, 2, 2), (128, 2, 2))
    supernet = raynas.supernets.spos_28x28(images.num_classes, stages=stages, head_channels=128)
    preset = replace(presets.FASHION_MNIST, epochs=12)
    supernet_training.train_or_load(supernet, images, preset, HOME / "supernet.safetensors")
    return Bench(supernet, images, HOME)


def open_quick_bench() -> Bench:
    """A space of five blocks on the handwritten digits, trained for twelve epochs."""
    images = raynas.data.digits(calibration=200, validation=200, shard_size=50)
    torch.manual_seed(0)
    stages = ((16, 3, 1), (32, 2, 2))
    supernet = raynas.supernets.spos_8x8(images.num_classes, stages=stages, head_channels=64)
    supernet_training.train_or_load(
        supernet, images, QUICK_TRAINING, QUICK / "supernet.safetensors"
    )
    return Bench(supernet, images, QUICK)
