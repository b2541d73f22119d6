"""A supernet that runs out of memory on whole validation shards."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from random_chains import Scene, with_blocks
from small_population import SEED
from torch import Tensor, nn
from troubled_supernets import troubled

from raynas.evaluation import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.open_pool import open_pool

ROOM = 4
EVERYONE = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]


class Narrow(nn.Module):
    """A layer with memory for `room` samples."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return x * 1.0


def narrow_scene(folder: Path, room: int) -> Scene:
    """Calibration shards of 4 images, validation shards of 6; choice (1, 1) has room for fewer."""
    scene = troubled(folder)
    supernet = scene.supernet
    blocks = [list(choices) for choices in supernet.blocks]
    blocks[1].append(Narrow(room))
    narrow = with_blocks(supernet, blocks)
    return Scene(narrow, scene.calibration, scene.validation, scene.seed)


def history(scene: Scene, workers: int) -> tuple[list[Any], int, list[str]]:
    """Scores before and after a freeze behind the narrow choice, halvings and warnings."""
    protocol = Evaluation(device="cpu", bits=8)
    with open_pool(scene.supernet, protocol, workers) as pool:
        splits = Splits(scene.calibration, scene.validation, scene.validation)
        evaluator = PopulationEvaluator(pool, splits, protocol, SEED)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            record = list(evaluator.score(EVERYONE))
            evaluator.freeze((0, 1), (0, 1, 0))
            record += evaluator.score(EVERYONE[2:4])
            record.append(evaluator.test((0, 1, 1)))
    said = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    return record, evaluator.counters.halvings, said
