"""Search a 12-block SPOS supernet on Fashion-MNIST: trained on 50,000 images, 10,000 held out.

The calibration and validation images are split off the training set. The images come from Debian's
`dataset-fashion-mnist`, or from a folder given with --data.

    python experiments/fashion_mnist_spos.py --strategy pcf --seed 1
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

import raynas
from raynas.commands import workflow

HOME = Path("runs/fashion_mnist")


def main(
    strategy: workflow.StrategyName = "pcf",
    workers: int | None = None,
    seed: int = 0,
    run_dir: Path | None = None,
    resume: bool = False,
    ledger: Path | None = None,
    data: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
    threshold: float = 0.5,
) -> None:
    """Train and search a 12-block SPOS supernet on Fashion-MNIST.

    Args:
        strategy: ea (SPOS), random, cf (CF-ES) or pcf (PCF-ES).
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of the search.
        run_dir: where the records go; a new folder under runs/fashion_mnist if omitted.
        resume: continue the run in run_dir, or the latest one.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
        threshold: the choice percentage at which blocks freeze (cf, pcf).
    """
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = raynas.supernets.spos_28x28(images.num_classes)
    directory = run_dir or workflow.choose_run_dir(HOME, strategy, seed, resume=resume)
    constraint = raynas.FLOPs(at_most=3.1e6)
    raynas.check_search(
        network,
        images,
        run_dir=directory,
        constraint=constraint,
        workers=workers,
        resume=resume,
        seed=seed,
        ledger=ledger,
    )
    settings = replace(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    workflow.train_or_load(network, images, settings, supernet)
    workflow.search_and_show(
        network,
        images,
        workflow.make_strategy(strategy, threshold=threshold),
        directory,
        constraint=constraint,
        workers=workers,
        seed=seed,
        resume=resume,
        ledger=ledger,
    )


if __name__ == "__main__":
    workflow.run(main)
