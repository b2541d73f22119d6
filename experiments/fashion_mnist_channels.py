"""Train a 12-block SPOS supernet of blocks and channels on Fashion-MNIST, and search both.

The table has the rows of SPOS's Table 4: channels of one block architecture, blocks at the default
channels, both jointly, and one after the other, beside random ones; scored by the supernet's
weights, not retrained. The images come from Debian's `dataset-fashion-mnist`, or from a folder
given with --data.

    python experiments/fashion_mnist_channels.py --strategy ea --workers 0
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import channels, program, supernet_training

HOME = Path("runs/fashion_mnist_channels")


def main(
    options: channels.ChannelOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
) -> None:
    """Train a 12-block SPOS supernet of blocks and channels on Fashion-MNIST, and search both.

    Args:
        options: the searches; their records go below runs/fashion_mnist_channels.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the searches.
    """
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = raynas.supernets.spos_28x28(images.num_classes, channels=True)
    channels.train_and_compare(network, images, settings, supernet, options)


if __name__ == "__main__":
    program.run(main)
