"""Train a 12-block FairNAS supernet on Fashion-MNIST, and search it with EA, CF-ES and PCF-ES.

Its blocks have 6 choices of kernel and expansion, and are trained with strict fairness. The table
has the columns of PCF-ES's Table 1. The images come from Debian's `dataset-fashion-mnist`, or from
a folder given with --data.

    python experiments/fashion_mnist_fairnas.py --seeds 0 1 2
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import comparison, program, supernet_training

HOME = Path("runs/fashion_mnist_fairnas")


def main(
    options: comparison.ComparisonOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 8,
    calibration: int = 500,
    validation: int = 1_000,
) -> None:
    """Train a 12-block FairNAS supernet on Fashion-MNIST, and compare searches of it.

    Args:
        options: the searches; their records go below runs/fashion_mnist_fairnas.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
    """
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST_FAIR, epochs=epochs)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = raynas.supernets.fairnas_28x28(images.num_classes)
    comparison.train_and_compare(
        network,
        images,
        settings,
        supernet,
        options,
        paths="fair",
        constraint=raynas.FLOPs(at_most="60%"),
    )


if __name__ == "__main__":
    program.run(main)
