"""Processes without Ray that evaluate their share of the shards: what actors are compared with."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from common.subjects import Source
from simulation import PROTOCOL

import raynas
from raynas.evaluation.device.allocator import keep_freed_memory
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.workers.pool import LocalPool, Pool


class Helper:
    """A process of its own, without Ray, that evaluates a share of the shards when it is told to.

    Args:
        source: of the supernet and the images.
        population: what it scores.
        part: which of the shares is its.
        of: how many shares there are.
        keeps_memory: whether it reuses the memory that it has freed, as workers on Ray do.
    """

    def __init__(
        self,
        source: Source,
        population: Sequence[Architecture],
        part: int = 0,
        of: int = 1,
        *,
        keeps_memory: bool = True,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        given = (far, source, list(population), part, of, keeps_memory)
        self._process = context.Process(target=serve, args=given, daemon=True)
        self._process.start()

    def close(self) -> None:
        """End the process."""
        self.connection.send(False)
        self._process.join(timeout=60)


def serve(
    connection: Connection,
    source: Source,
    population: list[Architecture],
    part: int,
    of: int,
    keeps_memory: bool,
) -> None:
    """Score the population whenever `True` is received."""
    if keeps_memory:
        keep_freed_memory()
    supernet, data = source.open()
    evaluator = open_evaluator(LocalPool(supernet, PROTOCOL), data, part, of)
    while connection.recv():
        connection.send(evaluator.score_again(population))


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
    return PopulationEvaluator(pool, Splits(calibration, validation), PROTOCOL, seed=0)
