"""A generation on a simulated cluster: sleeping actors under the real driver, on a real Ray."""

from __future__ import annotations

import copy
import pickle
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import torch
from sleeping import (
    BlockTable,
    NodeKind,
    SleepingEvaluator,
    SleepingShard,
    count_blocks,
    kind_of,
    trie_paths,
)
from torch import nn

import raynas
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.population.planner import predict_makespan
from raynas.shards.shard import make_shards
from raynas.space import Architecture
from raynas.supernets.layout import modules_of
from raynas.workers.calls import Calibrate, Call, ScoreShard
from raynas.workers.pool import Pool
from raynas.workers.ray_pool import ActorOptions, RayPool

METHODS = ("calibrate", "score")
PROTOCOL = raynas.Evaluation(device="cpu", threads=1)


@dataclass(frozen=True)
class Job:
    """A generation.

    Args:
        supernet: that is searched.
        table: its times, at the speed of the simulated actors.
        population: its candidates.
        calibration: images.
        validation: images.
        shard_size: images.
    """

    supernet: raynas.ChainSupernet
    table: BlockTable
    population: tuple[Architecture, ...]
    calibration: int
    validation: int
    shard_size: int

    def shards(self, images: int) -> list[SleepingShard]:
        """Stand-ins for the shards of a split."""
        count = -(-images // self.shard_size)
        return [SleepingShard(len(rows)) for rows in np.array_split(np.arange(images), count)]

    @property
    def work(self) -> float:
        """Seconds that one actor would sleep: each node of the trie once per image."""
        paths = trie_paths(self.population)
        images = {"calibrate": self.calibration, "score": self.validation}
        return sum(images[method] * self.table.work(method, paths) for method in METHODS)


class Laps:
    """The time from the start of each node of a call to that of the next, or to the call's end.

    Args:
        modules: the nodes, by their kind; no module is in two places.
    """

    def __init__(self, modules: dict[NodeKind, nn.Module]) -> None:
        self._seconds: dict[NodeKind, float] = {}
        self._running: tuple[NodeKind, float] | None = None
        for kind, module in modules.items():
            module.register_forward_pre_hook(self._starter(kind))

    def _starter(self, kind: NodeKind) -> Callable[..., None]:
        def start(*_: Any) -> None:
            self._end_lap()
            self._running = kind, time.perf_counter()

        return start

    def _end_lap(self) -> None:
        if self._running is not None:
            kind, begun = self._running
            self._seconds[kind] = time.perf_counter() - begun

    def read(self) -> dict[NodeKind, float]:
        """The last lap of each node since the last reading."""
        self._end_lap()
        read, self._seconds, self._running = self._seconds, {}, None
        return read


def measure_blocks(supernet: raynas.ChainSupernet, images: int, repeats: int) -> BlockTable:
    """Times of every choice of every block, and the sizes of its statistics, on one core.

    Every choice is run in a chain of its own, as in a generation; the fastest of the repeats.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, *supernet.image_shape), dtype=np.uint8)
    labels = np.zeros(images, np.int64)
    shard = make_shards(pixels, labels, split="calibration", shard_size=images)[0]
    replica = copy.deepcopy(supernet)
    evaluator = Evaluator(replica, PROTOCOL)
    laps = Laps(modules_of(replica))
    most = max(supernet.space.choices)
    chains = [tuple(min(c, n - 1) for n in supernet.space.choices) for c in range(most)]
    fastest: dict[str, dict[NodeKind, float]] = {method: {} for method in METHODS}

    def take_in(method: str) -> None:
        for kind, seconds in laps.read().items():
            known = fastest[method].get(kind, seconds)
            fastest[method][kind] = min(known, seconds)

    # At first every node's input is compared, which takes time.
    for _ in range(1 + repeats):
        found = evaluator.calibrate(shard, chains)
        take_in("calibrate")
        merged = batch_stats.merge([found.statistics])
        evaluator.score(shard, chains, merged)
        take_in("score")
    seconds = {
        method: {kind: lap / images for kind, lap in times.items()}
        for method, times in fastest.items()
    }
    return BlockTable(seconds, {kind_of(path): len(vector) for path, vector in merged.items()})


class WatchedPool:
    """A pool that notes when the driver is inside it, the calls, their results and what was put."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.start()

    def start(self) -> None:
        """Forget what was noted."""
        self.inside: list[tuple[str, float, float]] = []
        self.calls: dict[str, Sequence[Call[Any]]] = {}
        self.results: dict[str, list[Any]] = {}
        self.placed: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def put(self, value: Any) -> Any:
        """Put, timed."""
        begun = time.perf_counter()
        placed = self._pool.put(value)
        self.inside.append(("put", begun, time.perf_counter()))
        self.placed.append(value)
        return placed

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run, timed."""
        begun = time.perf_counter()
        results = self._pool.run(calls, keep=keep)
        method = calls[0].name
        self.inside.append((method, begun, time.perf_counter()))
        self.calls[method], self.results[method] = calls, results
        return results


def simulate(job: Job, actors: int, repeats: int) -> dict[str, Any]:
    """Generations on so many sleeping actors, after one for warm-up."""
    pool = RayPool(
        job.supernet,
        PROTOCOL,
        actors,
        options=ActorOptions(ray.remote(SleepingEvaluator), job.table),
    )
    try:
        begun = time.perf_counter()
        pool.wait()
        start_seconds = time.perf_counter() - begun
        actor_bytes = actor_memory() / actors
        watched = WatchedPool(pool)
        splits = Splits(
            cast(Any, job.shards(job.calibration)), cast(Any, job.shards(job.validation))
        )
        evaluator = PopulationEvaluator(cast(Pool, watched), splits, PROTOCOL, seed=0)
        evaluator.score_again(job.population)
        rows = [generation(job, actors, evaluator, watched) for _ in range(repeats)]
    finally:
        pool.close()
    middle = sorted(rows, key=lambda row: row["seconds"])[len(rows) // 2]
    seconds = [row["seconds"] for row in rows]
    return {
        "actors": actors,
        "start_seconds": start_seconds,
        "actor_bytes": actor_bytes,
        "repeats": seconds,
        **middle,
        "efficiency": job.work / (actors * statistics.median(seconds)),
    }


def generation(
    job: Job, actors: int, evaluator: PopulationEvaluator, watched: WatchedPool
) -> dict[str, Any]:
    """One generation, and where the time of its actors and of its driver went."""
    watched.start()
    cpu = time.process_time()
    begun = time.perf_counter()
    evaluator.score_again(job.population)
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    (_, calibrate, calibrated), (_, put, placed), (_, score, scored) = watched.inside
    slept = {method: slept_seconds(job.table, watched, method) for method in METHODS}
    ideal = {m: predict_makespan(slept[m], actors) for m in METHODS}
    spent = {"calibrate": calibrated - calibrate, "score": scored - score}
    total = sum(sum(units) for units in slept.values())
    wall = ended - begun
    return {
        "seconds": wall,
        "driver_seconds": {
            "planning": (calibrate - begun) + (score - placed),
            "merging_statistics": put - calibrated,
            "placing_statistics": placed - put,
            "merging_scores": ended - scored,
        },
        "driver_cpu_seconds": cpu,
        "units": {m: len(slept[m]) for m in METHODS},
        "lost_share": {
            "prefixes_recomputed": (total - job.work) / (actors * wall),
            "imbalance": sum(ideal.values()) / wall - total / (actors * wall),
            "dispatch": sum(spent[m] - ideal[m] for m in METHODS) / wall,
            "driver": (wall - sum(spent.values())) / wall,
        },
        "store_bytes": {
            "results": sum(size_of(r) for m in METHODS for r in watched.results[m]),
            "statistics_to_each_node": sum(map(size_of, watched.placed)),
        },
    }


def slept_seconds(table: BlockTable, watched: WatchedPool, method: str) -> list[float]:
    """The seconds that each call of an operation slept, in their order."""
    seconds = []
    for call, result in zip(watched.calls[method], watched.results[method], strict=True):
        assert isinstance(call, Calibrate | ScoreShard)
        rows = result.block_forwards / count_blocks(call.architectures)
        seconds.append(rows * table.work(method, trie_paths(call.architectures)))
    return seconds


def size_of(value: Any) -> int:
    """Bytes of a value in the object store."""
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(header) + sum(buffer.raw().nbytes for buffer in buffers)


def available_bytes() -> float:
    """Memory of this machine that processes can still have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)


def actor_memory() -> float:
    """Bytes of all sleeping actors of this machine; shared pages are counted once."""
    total = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"ray::{SleepingEvaluator.__name__}".encode() in (process / "cmdline").read_bytes():
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += 1024.0 * next(int(line.split()[1]) for line in lines if "Pss:" in line)
        except OSError:
            continue
    return total


def imagenet_supernet() -> raynas.ChainSupernet:
    """The full-size SPOS supernet: 20 blocks of 4 choices, 224², 1,000 classes."""
    torch.manual_seed(0)
    return raynas.supernets.spos(num_classes=1000)
