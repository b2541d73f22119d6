"""Recorded generations evaluated again, each mode in a process, side by side."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

import numpy as np
from common.subjects import Source
from plain import PlainEvaluator

import raynas
from raynas.evaluation.device.allocator import keep_freed_memory
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.workers.open_pool import open_pool

Generation = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    """One way to evaluate a generation.

    Args:
        name: of the row.
        populations: whose generations: those of an EA or of a PCF-ES.
        evaluation: the protocol, with the number of intra-op threads.
        freezing: whether shards are advanced to the prefixes of the generations.
        workers: Ray actors; 0 for the process itself.
        plain: without raynas, see `plain.py`; of the protocol only the threads count.
        keeps_memory: whether the process reuses the memory that it has freed, as workers on Ray
            always do; without, it gives it back to the system, as processes do by default.
    """

    name: str
    populations: Literal["ea", "pcf"]
    evaluation: raynas.Evaluation
    freezing: bool = False
    workers: int = 0
    plain: bool = False
    keeps_memory: bool = False


class Replayer:
    """One mode, evaluated by a process when it is told to.

    Args:
        mode: of the evaluator.
        connection: to its process.
    """

    def __init__(self, mode: Mode, connection: Connection) -> None:
        self.mode = mode
        self._connection = connection

    def evaluate(self, generation: Generation, *, score: bool) -> dict[str, Any]:
        """Follow the freeze of a generation and, if `score`, score its candidates.

        Returns:
            `freeze_seconds`, `seconds` of the scoring, `scores`, `block_forwards`, and `images`:
            those, for calibration and for scoring, that the scores of all candidates stand on.
        """
        self._connection.send((self.mode, generation, score))
        answer: dict[str, Any] = self._connection.recv()
        return answer

    def peak_mb(self) -> float:
        """The peak memory of its process, or the largest of its workers'."""
        self._connection.send((self.mode, None, False))
        peak: float = self._connection.recv()
        return peak


@contextmanager
def replayers(modes: Sequence[Mode], source: Source, *, together: bool) -> Iterator[list[Replayer]]:
    """Every mode, warmed up, in processes that end with the context.

    Args:
        modes: what to evaluate in.
        source: of the supernet and the images.
        together: modes of the same workers, threads and memory share a process, and so their peak;
            otherwise each has its own.

    Raises:
        EOFError: a process ended early; what it printed says why.
    """
    groups: dict[Any, list[Mode]] = {}
    for mode in modes:
        alike = (mode.plain, mode.workers, mode.evaluation.threads, mode.keeps_memory)
        groups.setdefault(alike if together else mode, []).append(mode)
    context = multiprocessing.get_context("spawn")
    connections: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for group in groups.values():
            connection, other = multiprocessing.Pipe()
            connections.append(connection)
            process = context.Process(target=serve, args=(group, source, other))
            process.start()
            processes.append(process)
            # Only the process holds this end now, so that its end is seen here.
            other.close()
        for connection in connections:
            connection.recv()
        own = {
            mode: c for c, group in zip(connections, groups.values(), strict=True) for mode in group
        }
        yield [Replayer(mode, own[mode]) for mode in modes]
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.join(60)
            process.terminate()
            process.join()


class Stage:
    """An evaluator in one mode, and the population that it saw last."""

    def __init__(self, mode: Mode, supernet: Any, images: Any, pools: ExitStack) -> None:
        self.mode = mode
        self.voters: tuple[Architecture, ...] = ()
        self.evaluator: Any
        if mode.plain:
            self.evaluator = PlainEvaluator(supernet, images, mode.evaluation.threads)
        else:
            pool = pools.enter_context(open_pool(supernet, mode.evaluation, mode.workers))
            splits = Splits(images.calibration, images.validation)
            self.evaluator = PopulationEvaluator(pool, splits, mode.evaluation, seed=0)


def serve(modes: Sequence[Mode], source: Source, connection: Connection) -> None:
    """Load, warm up, and evaluate generations as they are sent, until nobody asks."""
    if modes[0].keeps_memory:
        keep_freed_memory()
    supernet, images = source.open()
    rng = np.random.default_rng(12345)
    with ExitStack() as pools:
        stages = {}
        for mode in modes:
            stages[mode] = stage = Stage(mode, supernet, images, pools)
            stage.evaluator.score([supernet.space.sample(rng) for _ in range(4)])
        forget_peaks(modes[0].workers)
        connection.send("ready")
        while True:
            try:
                mode, generation, score = connection.recv()
            except EOFError:
                return
            stage = stages[mode]
            if generation is None:
                connection.send(peak_mb(mode.workers))
                continue
            calibrated = min(source.calibration, mode.evaluation.calibration_images or sys.maxsize)
            outcome = evaluate(
                stage.evaluator, generation, stage.voters, mode, calibrated, score=score
            )
            connection.send(outcome)
            stage.voters = architectures(generation["population"])


def evaluate(
    evaluator: Any,
    generation: Generation,
    voters: tuple[Architecture, ...],
    mode: Mode,
    calibrated: int,
    *,
    score: bool,
) -> dict[str, Any]:
    """One generation in one mode, as a search evaluates it.

    Args:
        evaluator: of the mode.
        generation: as it was recorded.
        voters: the population of the one before.
        mode: of the evaluator.
        calibrated: how many calibration images it uses.
        score: whether to score it, or only to follow its freeze.
    """
    wanted = architectures([*generation["rescored"], *generation["population"]])
    prefix = tuple(generation["prefix"])
    begun = time.perf_counter()
    if mode.freezing and wanted and prefix != evaluator.prefix:
        parents = architectures(generation["rescored"])
        evaluator.freeze(prefix, wanted[0], (*parents, *voters))
    frozen = time.perf_counter()
    forwards = evaluator.counters.block_forwards
    if generation["generation"] == 0 and not mode.plain:
        evaluator.vote_first(wanted)
    # What is compared is the evaluation of a mode, so none takes scores from the ledger.
    scores = evaluator.score_again(wanted) if score else []
    counters = evaluator.counters
    return {
        "freeze_seconds": frozen - begun,
        "seconds": time.perf_counter() - frozen,
        "scores": [(s.correct, s.top1, s.loss) for s in scores],
        "block_forwards": counters.block_forwards - forwards,
        "images": (counters.samples + calibrated) * len(scores),
    }


def architectures(scored: Sequence[dict[str, Any]]) -> tuple[Architecture, ...]:
    """The architectures of recorded scores."""
    return tuple(tuple(score["architecture"]) for score in scored)


def peak_mb(workers: int) -> float:
    """The peak resident memory of this process, or of its Ray workers, since `forget_peaks`."""
    return max(map(high_water_mb, evaluating_processes(workers)))


def forget_peaks(workers: int) -> None:
    """Let the peaks of the processes that evaluate start from what they hold now."""
    for process in evaluating_processes(workers):
        Path(f"/proc/{process}/clear_refs").write_text("5")


def evaluating_processes(workers: int) -> list[int]:
    """This process, or its Ray workers."""
    return actor_processes() if workers else [os.getpid()]


def actor_processes() -> list[int]:
    """The processes of evaluator actors on this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"RemoteEvaluator" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def high_water_mb(process: int) -> float:
    """The peak resident memory of a process, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 1024
    return 0.0
