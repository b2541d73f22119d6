"""Train a 12-block PONAS supernet on Fashion-MNIST, and specialise networks from its table.

The largest path is trained first, then the 12 choices of one block after another. The first table
shows how much each block matters (PONAS, figure 2), the second what the table finds under several
limits beside an evolutionary search (table 2). The images come from Debian's
`dataset-fashion-mnist`, or from a folder given with --data.

    python experiments/fashion_mnist_ponas.py --limits 40% 50% 60%
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import program, supernet_training, table_comparison

HOME = Path("runs/fashion_mnist_ponas")


def main(
    options: table_comparison.TableOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 6,
    block_epochs: int = 1,
    block_samples: int = 3_200,
    train: int = 50_000,
    calibration: int = 500,
    validation: int = 1_000,
) -> None:
    """Train a 12-block PONAS supernet on Fashion-MNIST, and specialise networks from its table.

    Args:
        options: the networks and searches; their records go below runs/fashion_mnist_ponas.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the largest path.
        block_epochs: of each block.
        block_samples: images in one of them, each of which twelve paths see.
        train: images to train on.
        calibration: images for batch-norm statistics.
        validation: images that choices and candidates are compared on.
    """
    preset = raynas.training.presets.FASHION_MNIST_PROGRESSIVE
    settings = supernet_training.adjust(preset, epochs=epochs)
    images = raynas.data.fashion_mnist(
        data, train=train, calibration=calibration, validation=validation
    )
    torch.manual_seed(0)
    table_comparison.train_and_specialize(
        raynas.supernets.ponas_28x28(images.num_classes),
        images,
        settings,
        supernet,
        options,
        block_epochs=block_epochs,
        block_samples=block_samples,
    )


if __name__ == "__main__":
    program.run(main)
