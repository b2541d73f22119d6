"""The small Fashion-MNIST supernet whose every architecture is scored: 4,096 of six blocks.

A supernet of its own, since the 12-block one of the experiments has 16 million architectures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from exhaustive import Table, build, describe
from rich.console import Console
from tables import write_ledger

import raynas
from raynas.commands import workflow

HOME = Path("runs/fashion_mnist/regret")
LEDGER = "ledger.sqlite"


@dataclass(frozen=True)
class Size:
    """How large the supernet and the splits are, and how long it is trained.

    Args:
        calibration: images for batch-norm statistics, at most.
        validation: images that candidates are scored on.
        shard_size: how many images are evaluated at a time.
        train: images that the supernet is trained on.
        epochs: of the training.
        stages: of the supernet; as many blocks as are scored exhaustively.
    """

    calibration: int = 2_000
    validation: int = 2_000
    shard_size: int = 125
    train: int = 50_000
    epochs: int = 12
    stages: tuple[tuple[int, int, int], ...] = ((32, 2, 1), (64, 2, 2), (128, 2, 2))


FULL = Size()
QUICK = Size(
    calibration=200,
    validation=200,
    shard_size=50,
    train=3_000,
    epochs=2,
    stages=((32, 1, 2), (64, 2, 2), (128, 2, 2)),
)


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

    def table(self, settings: raynas.Evaluation, *, workers: int = 0) -> Table:
        """The table under the protocol of unfrozen candidates; built if its file is missing.

        A table that is built is also added to the ledger beside it.

        Args:
            settings: what is sampled or quantized behind a prefix does not matter here.
            workers: Ray actors that build it.
        """
        protocol = unfrozen(settings)
        path = self.home / f"{file_name(protocol)}.npz"
        splits = (self.data.calibration, self.data.validation)
        if path.exists():
            return Table.load(path, describe(self.supernet, *splits, protocol))
        console = Console()
        total = self.supernet.space.count()

        def progress(done: int) -> None:
            console.print(f"{path.name}: {done:,} of {total:,} architectures")

        table = build(self.supernet, *splits, protocol, workers=workers, progress=progress)
        write_ledger(table, self.supernet, self.data, protocol, self.home / LEDGER)
        table.save(path)
        return table


def unfrozen(settings: raynas.Evaluation) -> raynas.Evaluation:
    """What of a protocol matters to candidates that are scored from the images on."""
    return raynas.Evaluation(
        device=settings.device,
        batch_norm=settings.batch_norm,
        precision=settings.precision,
        fold_batch_norm=settings.fold_batch_norm,
        calibration_images=settings.calibration_images,
    )


def file_name(settings: raynas.Evaluation) -> str:
    """The name of a table: what is not the default."""
    images = settings.calibration_images
    parts = [f"calibration-{images}" if images is not None else "full"]
    parts += [settings.precision] if settings.precision != "float32" else []
    parts += ["folded"] if settings.fold_batch_norm else []
    return "-".join(parts)


def open_bench(home: Path, folder: Path | None, size: Size) -> Bench:
    """The small supernet, trained first if its file is missing, and its data.

    Args:
        home: the folder of its weights and tables.
        folder: with the four idx files; Debian's if `None`.
        size: of the splits.
    """
    images = raynas.data.fashion_mnist(
        folder, calibration=size.calibration, validation=size.validation, train=size.train,
        shard_size=size.shard_size,
    )  # fmt: skip
    torch.manual_seed(0)
    supernet = raynas.supernets.spos_28x28(
        images.num_classes, stages=size.stages, head_channels=128
    )
    preset = replace(raynas.training.presets.FASHION_MNIST, epochs=size.epochs)
    workflow.train_or_load(supernet, images, preset, home / "supernet.safetensors")
    return Bench(supernet, images, size, home)
