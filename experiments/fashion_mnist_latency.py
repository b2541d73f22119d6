"""Search at the FLOPs and at the latency of networks of one choice everywhere (SPOS, table 5).

All searches are on one supernet that was trained once: of SPOS, or of GreedyNAS. Its latencies are
measured on this machine first. The images come from Debian's `dataset-fashion-mnist`, or from a
folder given with --data.

    python experiments/fashion_mnist_latency.py --system greedynas --strategies pcf
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

import raynas
from raynas.commands import comparison, latency, program, supernet_training, within_costs
from raynas.costs import same_choice
from raynas.costs.timing import TimingSettings


def main(
    options: comparison.ComparisonOptions,
    system: Literal["spos", "greedynas"] = "spos",
    data: Path | None = None,
    supernet: Path | None = None,
    epochs: int = 24,
    calibration: int = 500,
    validation: int = 1_000,
    batch: int = 32,
    rounds: int = 11,
) -> None:
    """Search a 12-block supernet at the FLOPs and at the latency of networks of one choice.

    Args:
        options: the searches; the latency table and their records go below runs/ if omitted.
        system: whose blocks and paths.
        data: the folder with the four idx files; Debian's if omitted.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        calibration: images for batch-norm statistics.
        validation: images that steer the search.
        batch: images at once, whose seconds are limited.
        rounds: how often each choice is timed.
    """
    home = Path(f"runs/fashion_mnist_{system}")
    directory = options.run_dir or home / "latency"
    settings = supernet_training.adjust(raynas.training.presets.FASHION_MNIST, epochs=epochs)
    images = raynas.data.fashion_mnist(data, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    network = getattr(raynas.supernets, f"{system}_28x28")(images.num_classes)
    timing = TimingSettings(batches=(batch,), rounds=rounds, device="cpu")
    table = latency.measured_in(directory / "latency.json", network, timing)
    bounds: dict[str, Callable[..., raynas.costs.Bounds]] = {
        "flops": raynas.FLOPs,
        "latency": partial(raynas.Latency, table=table, batch=batch),
    }
    names = [name for name in network.names[0] if all(name in each for each in network.names)]
    paths = {"paths": "greedy", "filter_samples": 100} if system == "greedynas" else {}
    for limited, bound in bounds.items():
        within_costs.train_and_search_below(
            network, images, settings, supernet or home / "supernet.safetensors",
            replace(options, run_dir=directory / limited),
            baselines={f"all {name}": same_choice(network, name) for name in names},
            bound=bound, **paths,
        )  # fmt: skip


if __name__ == "__main__":
    program.run(main)
