"""What the benchmarks share: the Fashion-MNIST supernet, its data, and recorded searches on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import raynas
from raynas.commands import workflow
from raynas.evaluation.device.machine import machine_facts
from raynas.report.read import read_run
from raynas.runlog import RESULT

HOME = Path("runs/fashion_mnist")
SUPERNET = HOME / "supernet.safetensors"
CONSTRAINT = raynas.FLOPs(at_most=3.1e6)
THRESHOLD = 0.5


def load(
    weights: Path, folder: Path | None, calibration: int, validation: int
) -> tuple[raynas.ChainSupernet, raynas.data.SearchData]:
    """The 12-block SPOS supernet of `experiments/fashion_mnist_spos.py`, and its data.

    Args:
        weights: the trained weights; trained first if the file is missing.
        folder: with the four idx files; Debian's if `None`.
        calibration: images for batch-norm statistics.
        validation: images that candidates are scored on.
    """
    images = raynas.data.fashion_mnist(folder, calibration=calibration, validation=validation)
    torch.manual_seed(0)
    supernet = raynas.supernets.spos_28x28(images.num_classes)
    workflow.train_or_load(supernet, images, raynas.training.presets.FASHION_MNIST, weights)
    return supernet, images


def recorded_search(
    supernet: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    name: workflow.StrategyName,
    *,
    seed: int = 0,
    threshold: float = THRESHOLD,
    home: Path = HOME / "recorded",
    workers: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The generations of a whole search under the full protocol, searched as far as missing.

    Args:
        supernet: searched.
        images: that it is searched on.
        name: of the strategy.
        seed: of the search.
        threshold: of the strategy.
        home: the folder of all recorded searches on these images.
        workers: Ray actors that a missing one is searched with; 0 for this process.
        options: of the strategy, such as its population.

    Returns:
        What `generations.jsonl` holds: of each generation the `prefix`, and under `rescored` and
        `population` the architectures with their scores.

    Raises:
        InputError: the folder holds another search.
    """
    run_dir = home / f"{name}-seed{seed}"
    raynas.search(
        supernet,
        images,
        strategy=workflow.make_strategy(name, threshold=threshold, **options),
        constraint=CONSTRAINT,
        run_dir=run_dir,
        workers=0 if (run_dir / RESULT).exists() else workers,
        seed=seed,
        resume=True,
    )
    return read_run(run_dir).generations


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        **machine_facts(torch.device("cpu")),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "ray": version("ray"),
        "raynas": raynas.__version__,
    }
