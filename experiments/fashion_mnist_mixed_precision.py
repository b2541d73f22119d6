"""Train a ResNet of mixed precision on Fashion-MNIST, and search it under three limits on BitOps.

Its 8 blocks choose bits of weights and activations and the width of their bottleneck: the paper's
choices, and (3, 3), so that 2, 3 or 4 bits everywhere (2W2A, 3W3A, 4W4A) are architectures of the
same supernet. The table has the shape of SPOS's Table 6: these baselines, and what is found within
their bit operations. The images come from Debian's `dataset-fashion-mnist`, or from a folder given
with --data.

    python experiments/fashion_mnist_mixed_precision.py --seeds 0 1 2
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import comparison, program, supernet_training, within_costs

HOME = Path("runs/fashion_mnist_mixed_precision")


def main(
    options: comparison.ComparisonOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
) -> None:
    """Train a ResNet of mixed precision on Fashion-MNIST, and search it under limits on BitOps.

    Args:
        options: the searches; their records go below runs/fashion_mnist_mixed_precision.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
    """
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = raynas.supernets.resnet_mixed_28x28(
        images.num_classes, bits=(*raynas.supernets.MIXED_BITS, (3, 3))
    )
    uniform = {
        f"{bits}W{bits}A": network.encode([f"w{bits}a{bits}@1.0"] * network.space.blocks)
        for bits in (2, 3, 4)
    }
    within_costs.train_and_search_below(
        network, images, settings, supernet, options, baselines=uniform, bound=raynas.BitOps
    )


if __name__ == "__main__":
    program.run(main)
