"""Train a small SPOS supernet on handwritten digits, and search it on every core or GPU.

This is what `make search` runs; nothing is downloaded. The supernet is trained once and reused.

    python experiments/digits_spos.py --strategy ea --workers 1 --seed 3
"""

from __future__ import annotations

from pathlib import Path

import torch

import raynas
from raynas.commands import program, supernet_training, workflow
from raynas.commands.named_strategies import make_strategy
from raynas.commands.run_options import RunOptions

HOME = Path("runs/digits")


def main(
    run: RunOptions,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 120,
    threshold: float = 0.5,
    population: int = 50,
) -> None:
    """Train and search a small SPOS supernet on handwritten digits.

    Args:
        run: the search; its records go below runs/digits.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        threshold: the choice percentage at which blocks freeze (cf, pcf).
        population: candidates of a generation.
    """
    strategy = make_strategy(run.strategy, population=population, threshold=threshold)
    settings = supernet_training.adjust(raynas.training.presets.DIGITS, epochs=epochs)
    constraint = raynas.FLOPs(at_most=680e3)
    directory = run.directory(HOME)
    data = raynas.data.digits()
    torch.manual_seed(0)
    network = raynas.supernets.spos_8x8(data.num_classes)
    raynas.check_search(
        network,
        data,
        run_dir=directory,
        strategy=strategy,
        constraint=constraint,
        **run.options(),
    )
    supernet_training.train_or_load(network, data, settings, supernet)
    workflow.search_and_show(
        network,
        data,
        strategy,
        directory,
        constraint=constraint,
        **run.options(),
        **run.shown(),
    )


if __name__ == "__main__":
    program.run(main)
