"""Retrain what searches of SPOS on Fashion-MNIST find, beside all c3 and random networks.

A 12-block supernet is trained and searched; the winners, the network of 3×3 convolutions only, and
random networks of the first winner's FLOPs are then trained from scratch with one recipe, and
tested. Supernet, searches and networks that are there are used as they are. The images come from
Debian's `dataset-fashion-mnist`, or from a folder given with --data.

    python experiments/fashion_mnist_retrain.py --strategies ea pcf --retrain-epochs 3
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import comparison, program, supernet_training
from raynas.commands.retrained_comparison import compare_retrained
from raynas.costs import flops_table, random_near, same_choice
from raynas.space import Architecture
from raynas.training import presets

HOME = Path("runs/fashion_mnist")


def main(
    options: comparison.ComparisonOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    retrain_epochs: int = 3,
    networks: int = 3,
    calibration: int = 500,
    validation: int = 1_000,
    train: int = 50_000,
) -> None:
    """Search a SPOS supernet on Fashion-MNIST, and retrain winners and baselines.

    Args:
        options: the searches; their records go below runs/fashion_mnist, and so do the networks.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the supernet's training.
        retrain_epochs: of each network's.
        networks: random ones of the first winner's FLOPs.
        calibration: images for batch-norm statistics.
        validation: images that steer the searches.
        train: images that the supernet and the networks are trained on.
    """
    settings = supernet_training.adjust(presets.FASHION_MNIST, epochs=epochs)
    recipe = supernet_training.adjust(presets.RETRAIN_FASHION_MNIST, epochs=retrain_epochs)
    images = raynas.data.fashion_mnist(
        data, calibration=calibration, validation=validation, train=train
    )
    torch.manual_seed(0)
    network = raynas.supernets.spos_28x28(images.num_classes)
    found = comparison.train_and_compare(
        network, images, settings, supernet, options, constraint=raynas.FLOPs(at_most=3.1e6)
    )
    winners = {
        f"{comparison.LABELS[row['name']]}, seed {row['seed']}": tuple(row["architecture"])
        for row in found
    }
    first = next(iter(winners.values()))
    flops = flops_table(network).of(first)
    others = random_near(flops_table(network), flops, networks, others=set(winners.values()))
    every: dict[str, Architecture] = {
        **winners,
        "all c3": same_choice(network, "c3"),
        **{f"random {number}": each for number, each in enumerate(others, 1)},
    }
    home = (options.run_dir or supernet.parent) / f"retrained-{retrain_epochs}-epochs"
    compare_retrained(network, images, every, recipe, home)


if __name__ == "__main__":
    program.run(main)
