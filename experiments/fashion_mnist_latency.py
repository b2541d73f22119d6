"""Search at the FLOPs and at the latency of networks of one choice everywhere (SPOS, table 5).

All searches are on one supernet that was trained once: of SPOS, or of GreedyNAS. Its latencies are
measured on this machine first. The images come from Debian's `dataset-fashion-mnist`, or from a
folder given with --data.

    python experiments/fashion_mnist_latency.py --system greedynas
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

import raynas
from raynas.commands import rivals, supernet_training, terminal, workflow
from raynas.costs.timing import TimingSettings
from raynas.evolution.presets import OF_BUILDER


def main(
    system: Literal["spos", "greedynas"] = "spos",
    data: Path | None = None,
    supernet: Path | None = None,
    run_dir: Path | None = None,
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
    batch: int = 32,
    rounds: int = 11,
    population: int = 50,
    generations: int = 20,
    workers: int | None = None,
    seed: int = 0,
) -> None:
    """Search a 12-block supernet at the FLOPs and at the latency of rivals.

    Args:
        system: whose blocks and paths.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        run_dir: the folder of the latency table and of all records; below runs/ if omitted.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
        batch: images at once, whose seconds are limited.
        rounds: how often each choice is timed.
        population: architectures per generation.
        generations: of each search.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of the searches.
    """
    home = Path(f"runs/fashion_mnist_{system}")
    weights = supernet or home / "supernet.safetensors"
    directory = run_dir or home / "latency"
    timing = TimingSettings(batches=(batch,), rounds=rounds, device="cpu")
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = getattr(raynas.supernets, f"{system}_28x28")(images.num_classes)
    strategy = OF_BUILDER[system].pcfes(population=population, generations=generations)
    raynas.check_search(
        network, images, strategy=strategy, run_dir=directory, workers=workers, seed=seed
    )
    greedy = system == "greedynas"
    supernet_training.train_or_load(
        network, images, settings, weights,
        paths="greedy" if greedy else "uniform", filter_samples=100 if greedy else None,
        workers=workers,
    )  # fmt: skip
    table = rivals.measured_table(network, directory / "latency.json", timing)
    latency = raynas.Latency(table=table, batch=batch)
    found = rivals.search_beside(
        network, images, strategy, directory, latency, workers=workers, seed=seed
    )
    terminal.make_console().print(rivals.rivals_table(found))


if __name__ == "__main__":
    workflow.run(main)
