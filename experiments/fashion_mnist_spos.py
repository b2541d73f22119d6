"""Search a 12-block SPOS supernet on Fashion-MNIST: trained on 50,000 images, 10,000 held out.

The calibration and validation images are split off the training set. The images come from Debian's
`dataset-fashion-mnist`, or from a folder given with --data.

    python experiments/fashion_mnist_spos.py --strategy pcf --seed 1
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import program, supernet_training, workflow
from raynas.commands.named_strategies import make_strategy
from raynas.commands.run_options import RunOptions

HOME = Path("runs/fashion_mnist")


def main(
    run: RunOptions,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
    threshold: float = 0.5,
) -> None:
    """Train and search a 12-block SPOS supernet on Fashion-MNIST.

    Args:
        run: the search; its records go below runs/fashion_mnist.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
        threshold: the choice percentage at which blocks freeze (cf, pcf).
    """
    strategy = make_strategy(run.strategy, threshold=threshold)
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    constraint = raynas.FLOPs(at_most=3.1e6)
    directory = run.directory(HOME)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = raynas.supernets.spos_28x28(images.num_classes)
    raynas.check_search(
        network,
        images,
        run_dir=directory,
        strategy=strategy,
        constraint=constraint,
        **run.options(),
    )
    supernet_training.train_or_load(network, images, settings, supernet)
    workflow.search_and_show(
        network,
        images,
        strategy,
        directory,
        constraint=constraint,
        **run.options(),
        **run.shown(),
    )


if __name__ == "__main__":
    program.run(main)
