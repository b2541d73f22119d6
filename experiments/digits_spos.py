"""Train a small SPOS supernet on handwritten digits, and search it on every core or GPU.

This is what `make search` runs; nothing is downloaded. The supernet is trained once and reused.

    python experiments/digits_spos.py --strategy ea --workers 1 --seed 3
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

import raynas
from raynas.commands import workflow

HOME = Path("runs/digits")


def main(
    strategy: workflow.StrategyName = "pcf",
    workers: int | None = None,
    seed: int = 0,
    run_dir: Path | None = None,
    resume: bool = False,
    ledger: Path | None = None,
    supernet: Path = HOME / "supernet.safetensors",
    epochs: int = 120,
    threshold: float = 0.5,
) -> None:
    """Train and search a small SPOS supernet on handwritten digits.

    Args:
        strategy: ea (SPOS), random, cf (CF-ES) or pcf (PCF-ES).
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of the search.
        run_dir: where the records go; a new folder under runs/digits if omitted.
        resume: continue the run in run_dir, or the latest one.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
        supernet: the trained weights; trained first if the file is missing.
        epochs: of the training.
        threshold: the choice percentage at which blocks freeze (cf, pcf).
    """
    data = raynas.data.digits()
    torch.manual_seed(0)
    network = raynas.supernets.spos_8x8(data.num_classes)
    directory = run_dir or workflow.choose_run_dir(HOME, strategy, seed, resume=resume)
    constraint = raynas.FLOPs(at_most=680e3)
    evaluation = raynas.Evaluation(sample_rate=1.0, bits=32)
    raynas.check_search(
        network,
        data,
        run_dir=directory,
        constraint=constraint,
        workers=workers,
        resume=resume,
        seed=seed,
        ledger=ledger,
    )
    settings = replace(raynas.training.presets.DIGITS, epochs=epochs)
    workflow.train_or_load(network, data, settings, supernet)
    workflow.search_and_show(
        network,
        data,
        workflow.make_strategy(strategy, threshold=threshold),
        directory,
        constraint=constraint,
        evaluation=evaluation,
        workers=workers,
        seed=seed,
        resume=resume,
        ledger=ledger,
    )


if __name__ == "__main__":
    workflow.run(main)
