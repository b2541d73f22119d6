"""Train a ResNet of mixed precision on Fashion-MNIST, and search it under three limits on BitOps.

Its 8 blocks choose bits of weights and activations and the width of their bottleneck: the paper's
choices, and (3, 3), so that 2, 3 or 4 bits everywhere (2W2A, 3W3A, 4W4A) are architectures of the
same supernet. The table has the shape of SPOS's Table 6: these baselines, and what is found within
their bit operations. The images come from Debian's `dataset-fashion-mnist`, or from a folder given
with --data. With --retrain-epochs, all of these networks are then trained from scratch with one
recipe, and tested.

    python experiments/fashion_mnist_mixed_precision.py --seeds 0 1 2 --retrain-epochs 3
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import comparison, program, supernet_training, within_costs
from raynas.commands.retrained_comparison import compare_retrained
from raynas.training import presets

HOME = Path("runs/fashion_mnist_mixed_precision")


def main(
    options: comparison.ComparisonOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    retrain_epochs: int = 0,
    calibration: int = 500,
    validation: int = 1_000,
    train: int = 50_000,
) -> None:
    """Train a ResNet of mixed precision on Fashion-MNIST, and search it under limits on BitOps.

    Args:
        options: the searches; their records go below runs/fashion_mnist_mixed_precision.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        retrain_epochs: of each network's; none is retrained if 0.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
        train: images that the supernet and the networks are trained on.
    """
    settings = supernet_training.adjust(presets.FASHION_MNIST, epochs=epochs)
    images = raynas.data.fashion_mnist(
        data, calibration=calibration, validation=validation, train=train
    )
    torch.manual_seed(0)
    network = raynas.supernets.resnet_mixed_28x28(
        images.num_classes, bits=(*raynas.supernets.MIXED_BITS, (3, 3))
    )
    uniform = {
        f"{bits}W{bits}A": network.encode([f"w{bits}a{bits}@1.0"] * network.space.blocks)
        for bits in (2, 3, 4)
    }
    rows = within_costs.train_and_search_below(
        network, images, settings, supernet, options, baselines=uniform, bound=raynas.BitOps
    )
    if retrain_epochs:
        recipe = supernet_training.adjust(presets.RETRAIN_FASHION_MNIST, epochs=retrain_epochs)
        every = {name: each for row in rows for name, each in row.architectures.items()}
        home = (options.run_dir or supernet.parent) / f"retrained-{retrain_epochs}-epochs"
        bitops = raynas.BitOps(at_most="100%").priced(network)
        compare_retrained(network, images, every, recipe, home, bitops)


if __name__ == "__main__":
    program.run(main)
