"""Recorded generations evaluated again, each mode in a process of its own, side by side."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import fashion
import numpy as np
from plain import PlainEvaluator

import raynas
from raynas.distributed.opening import open_pool
from raynas.distributed.population import PopulationEvaluator
from raynas.space import Architecture

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
    """

    name: str
    populations: Literal["ea", "pcf"]
    evaluation: raynas.Evaluation
    freezing: bool = False
    workers: int = 0
    plain: bool = False


@dataclass(frozen=True)
class Sources:
    """Where the processes find the supernet and the images."""

    weights: Path
    folder: Path | None
    calibration: int
    validation: int


class Replayer:
    """A process that evaluates generations in one mode when it is told to."""

    def __init__(self, mode: Mode, sources: Sources) -> None:
        self.mode = mode
        self._connection, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=serve, args=(mode, sources, other))
        self._process.start()

    def wait(self) -> None:
        """Until it is warmed up."""
        self._connection.recv()

    def evaluate(self, generation: Generation, *, score: bool) -> dict[str, Any]:
        """Follow the freeze of a generation and, if `score`, score its candidates.

        Returns:
            `freeze_seconds`, `seconds` of the scoring, `scores`, `block_forwards`, and `images`:
            those, for calibration and for scoring, that the scores of all candidates stand on.
        """
        self._connection.send((generation, score))
        answer: dict[str, Any] = self._connection.recv()
        return answer

    def close(self) -> float:
        """End the process; the peak memory of it or of each of its workers, in MB."""
        self._connection.send(None)
        peak: float = self._connection.recv()
        self._process.join()
        return peak


@contextmanager
def replayers(modes: Sequence[Mode], sources: Sources) -> Iterator[list[Replayer]]:
    """One process per mode, ended with the context if they have not been before."""
    running: list[Replayer] = []
    try:
        for mode in modes:
            running.append(Replayer(mode, sources))
        for replayer in running:
            replayer.wait()
        yield running
    finally:
        for replayer in running:
            replayer._process.terminate()


def serve(mode: Mode, sources: Sources, connection: Connection) -> None:
    """What the process of a mode does: load, warm up, and evaluate what it is sent."""
    supernet, images = fashion.load(
        sources.weights, sources.folder, sources.calibration, sources.validation
    )
    rng = np.random.default_rng(12345)
    evaluator: Any
    with open_pool(supernet, mode.evaluation, mode.workers) as pool:
        if mode.plain:
            evaluator = PlainEvaluator(supernet, images, mode.evaluation.threads)
        else:
            splits = (images.calibration, images.validation)
            evaluator = PopulationEvaluator(pool, *splits, mode.evaluation, seed=0)
        evaluator.score([supernet.space.sample(rng) for _ in range(4)])
        forget_peaks(pool.workers)
        connection.send("ready")
        voters: tuple[Architecture, ...] = ()
        calibrated = min(sources.calibration, mode.evaluation.calibration_images or sys.maxsize)
        while (order := connection.recv()) is not None:
            generation, score = order
            outcome = evaluate(evaluator, generation, voters, mode, calibrated, score=score)
            connection.send(outcome)
            voters = architectures(generation["population"])
        connection.send(peak_mb(pool.workers))


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
    forwards = evaluator.block_forwards
    if generation["generation"] == 0 and not mode.plain:
        evaluator.vote_first(wanted)
    # What is compared is the evaluation of a mode, so none takes scores from the ledger.
    scores = evaluator.score(wanted, reuse=False) if score else []
    return {
        "freeze_seconds": frozen - begun,
        "seconds": time.perf_counter() - frozen,
        "scores": [(s.correct, s.top1, s.loss) for s in scores],
        "block_forwards": evaluator.block_forwards - forwards,
        "images": (evaluator.samples + calibrated) * len(scores),
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
