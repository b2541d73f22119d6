"""A small SPOS scene, and population evaluators over any scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from random_chains import CLASSES, Scene, random_shards

from raynas.evaluation import Evaluation
from raynas.ledger.ledger import Ledger
from raynas.population.evaluated import Known, Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard
from raynas.supernets import digest, spos
from raynas.workers.pool import LocalPool

SEED = 11
"""Of the importance sampling."""


def small_spos() -> Scene:
    """Four blocks of four choices, no module of which is used twice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = spos(
            CLASSES, image_size=12, stem_channels=4, stages=((8, 2, 1), (16, 2, 2)),
            head_channels=24,
        ).eval()  # fmt: skip
    calibration = random_shards(supernet, "calibration", 12, 4, seed=1)
    return Scene(supernet, calibration, random_shards(supernet, "validation", 40, 9, seed=2), 3)


def open_evaluator(
    scene: Scene,
    pool: Any = None,
    *,
    ledger: Ledger | None = None,
    held_out: Sequence[Shard] = (),
    seed: int = SEED,
    **options: Any,
) -> PopulationEvaluator:
    """An evaluator of a scene, in this process unless there is a pool; options of the protocol."""
    protocol = Evaluation(**{"device": "cpu", **options})
    return PopulationEvaluator(
        pool or LocalPool(scene.supernet, protocol),
        Splits(scene.calibration, scene.validation, held_out),
        protocol,
        seed,
        Known(ledger, digest(scene.supernet)),
    )


def rows(shards: Sequence[Shard]) -> int:
    return sum(shard.rows for shard in shards)
