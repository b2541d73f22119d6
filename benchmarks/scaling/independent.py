"""Processes without Ray that evaluate their share of the shards: what actors are compared with."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import fashion
from simulation import PROTOCOL

import raynas
from raynas.evaluation.device.allocator import keep_freed_memory
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.pool import LocalPool, Pool


class Helper:
    """A process of its own, without Ray, that evaluates a share of the shards when it is told to.

    Args:
        settings: weights, data folder, images of each split, and the population.
        part: which of the shares is its.
        of: how many shares there are.
    """

    def __init__(self, settings: tuple[Any, ...], part: int, of: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self._process = context.Process(target=serve, args=(far, *settings, part, of), daemon=True)
        self._process.start()

    def close(self) -> None:
        """End the process."""
        self.connection.send(False)
        self._process.join(timeout=60)


def serve(
    connection: Connection,
    weights: Path,
    folder: Path | None,
    images: int,
    population: list[raynas.space.Architecture],
    part: int,
    of: int,
) -> None:
    """What a helper does: score the population whenever it receives `True`."""
    supernet, data = fashion.load(weights, folder, images, images)
    keep_freed_memory()
    evaluator = open_evaluator(LocalPool(supernet, PROTOCOL), data, part, of)
    while connection.recv():
        connection.send(evaluator.score(population, reuse=False))


def together(*helpers: Helper) -> list[Any]:
    """Let helpers evaluate at the same time; what each returned, when the last is done."""
    for helper in helpers:
        helper.connection.send(True)
    return [helper.connection.recv() for helper in helpers]


def open_evaluator(
    pool: Pool, data: raynas.data.SearchData, part: int = 0, of: int = 1
) -> PopulationEvaluator:
    """An evaluator over a share of the shards."""
    calibration, validation = list(data.calibration)[part::of], list(data.validation)[part::of]
    return PopulationEvaluator(pool, calibration, validation, PROTOCOL, seed=0)
