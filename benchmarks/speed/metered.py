"""Evaluators and a pool that note where their time goes: what `breakdown.py` measures with."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from torch import nn

from raynas.evaluation import evaluator, input_check, outcomes
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.fixed import NodeNorms
from raynas.evaluation.nodes import NodeRunner
from raynas.evaluation.settings import Evaluation
from raynas.ledger.ledger import Ledger
from raynas.population import shard_maps
from raynas.supernets.chain import ChainSupernet
from raynas.workers.busy import Timed
from raynas.workers.calls import Call
from raynas.workers.pool import Pool
from raynas.workers.ray_actor import RemoteEvaluator

METHODS = ("calibrate", "score")

IN_WORKERS = (
    (batch_stats, "set_buffers", "statistics"),
    (batch_stats, "start_averages", "statistics"),
    (NodeNorms, "assign", "statistics"),
    (NodeRunner, "under_batch", "statistics"),
    (NodeRunner, "under_fixed", "statistics"),
    (NodeRunner, "on_device", "statistics"),
    (NodeRunner, "recorded", "statistics"),
    (evaluator, "restore", "copies"),
    (evaluator, "concatenate", "statistics"),
    (input_check, "laid_out", "copies"),
    (evaluator, "join_batches", "copies"),
    (outcomes, "judge", "judging"),
)
IN_DRIVER = (
    (batch_stats, "merge", "statistics"),
    (shard_maps, "plan", "planning"),
    (Ledger, "known", "ledger"),
    (Ledger, "add", "ledger"),
)
"""Functions that are timed, without those inside them, and the part that they belong to."""


class PartTimer:
    """Charges every moment to the innermost part that is being executed.

    Args:
        outermost: the part that is charged where no other is.
    """

    def __init__(self, outermost: str) -> None:
        self._parts = [outermost]
        self._since = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)

    def enter(self, part: str) -> None:
        """Begin a part inside the current one."""
        self._charge()
        self._parts.append(part)

    def leave(self) -> None:
        """End the current part."""
        self._charge()
        self._parts.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part for the time of the context."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def read(self) -> dict[str, float]:
        """The seconds of each part since the last reading."""
        self._charge()
        read, self._seconds = dict(self._seconds), defaultdict(float)
        return read

    def time(self, places: Sequence[tuple[Any, str, str]]) -> None:
        """Time functions of this process, for the rest of its life."""
        for owner, name, part in places:
            setattr(owner, name, self._timed(part, getattr(owner, name)))

    def time_modules(self, supernet: ChainSupernet) -> None:
        """Time the forwards of a supernet's nodes, apart from what is done around them."""
        choices = [choice for block in supernet.blocks for choice in block]  # type: ignore[attr-defined]
        nodes: list[nn.Module] = [supernet.stem, *choices, supernet.head]
        for module in {id(node): node for node in nodes}.values():
            module.register_forward_pre_hook(lambda *_: self.enter("compute"))
            module.register_forward_hook(lambda *_: self.leave())

    def _charge(self) -> None:
        now = time.monotonic()
        self._seconds[self._parts[-1]] += now - self._since
        self._since = now

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return timed


@dataclass(frozen=True)
class Visit:
    """A call, as its actor saw it.

    Args:
        result: of the evaluator.
        actor: which one it was.
        begun: when, on the clock of the machine.
        ended: likewise.
        parts: seconds of each.
    """

    result: Any
    actor: int
    begun: float
    ended: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Metered:
    """The replica of a metered actor, and how it is timed.

    Args:
        supernet: its replica.
        parts: whether all parts are timed, or only the modules: timing costs time itself.
    """

    supernet: ChainSupernet
    parts: bool


class MeteredActor:
    """In the place of `RemoteEvaluator`: calls that calibrate or score return a `Visit`."""

    def start(self, metered: Metered, settings: Evaluation, *more: Any) -> dict[str, str]:
        """Take this actor's replica and the protocol; what it evaluates on."""
        self._timer = PartTimer("walk")
        self._timer.time(IN_WORKERS if metered.parts else ())
        self._timer.time_modules(metered.supernet)
        self._remote = RemoteEvaluator()
        return self._remote.hold(metered.supernet, settings)

    def call(self, kind: type[Call], *arguments: Any) -> Timed:
        """Run a call."""
        if kind.name not in METHODS:
            return self._remote.call(kind, *arguments)
        self._timer.read()
        begun = time.monotonic()
        timed = self._remote.call(kind, *arguments)
        parts = self._timer.read()
        visit = Visit(timed.value, os.getpid(), begun, time.monotonic(), parts)
        return Timed(visit, timed.seconds)

    def call_and_keep(self, kind: type[Call], *arguments: Any) -> tuple[Any, Timed]:
        """Run a call that returns a pair."""
        return self._remote.call_and_keep(kind, *arguments)


@dataclass(frozen=True)
class MapTimes:
    """The calls of one map.

    Args:
        begun: when it was handed to the pool.
        ended: when the pool returned.
        visits: one per call.
        serialization: estimated seconds that actors spent on it.
    """

    begun: float
    ended: float
    visits: list[Visit]
    serialization: float

    def parts(self, workers: int) -> dict[str, float]:
        """Where `workers` times the seconds of the run went."""
        parts: dict[str, float] = defaultdict(float)
        for visit in self.visits:
            for name, seconds in visit.parts.items():
                parts[name] += seconds
            parts["walk"] += visit.ended - visit.begun - sum(visit.parts.values())
        stops = [self.begun] * workers
        for index, actor in enumerate(sorted({visit.actor for visit in self.visits})):
            stops[index] = max(visit.ended for visit in self.visits if visit.actor == actor)
        parts["imbalance"] = sum(max(stops) - stop for stop in stops)
        seconds = workers * (self.ended - self.begun)
        between = max(0.0, seconds - sum(parts.values()))
        parts["serialization"] = min(self.serialization, between)
        parts["scheduling"] = between - parts["serialization"]
        return parts


class RecordingPool:
    """Passes everything on to a pool of `MeteredActor`, and records its runs.

    Args:
        pool: the actors.
        timer: of the driver, where `put` is serialization and `run` is nothing of the driver's.
    """

    def __init__(self, pool: Pool, timer: PartTimer) -> None:
        self._pool = pool
        self._timer = timer
        self._runs: dict[str, MapTimes] = {}
        self._driver: dict[str, dict[str, float]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def put(self, value: Any) -> Any:
        """Share a value with all workers."""
        with self._timer.part("serialization"):
            placed = self._pool.put(value)
        # A generation puts its merged statistics only: what follows belongs to the scoring.
        self._driver["calibrate"] = self._timer.read()
        return placed

    def generation(self, score: Callable[[], Any]) -> dict[str, dict[str, float]]:
        """Score a generation; the worker-seconds of each part of its calibration and scoring."""
        self._timer.read()
        score()
        self._driver["score"] = self._timer.read()
        parts: dict[str, dict[str, float]] = {}
        for method in METHODS:
            parts[method] = defaultdict(float, self._runs[method].parts(self._pool.workers))
            for name, seconds in self._driver[method].items():
                if name not in ("run", "unmeasured"):
                    parts[method][name] += self._pool.workers * seconds
        return parts

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run the calls; the results without what was recorded."""
        method = calls[0].name
        if method not in METHODS:
            return self._pool.run(calls, keep=keep)
        with self._timer.part("run"):
            begun = time.monotonic()
            visits: list[Visit] = self._pool.run(calls)
            ended = time.monotonic()
        with self._timer.part("unmeasured"):
            seconds = serialization_seconds(calls, visits)
        self._runs[method] = MapTimes(begun, ended, visits, seconds)
        return [visit.result for visit in visits]


def serialization_seconds(calls: Sequence[Call], visits: Sequence[Visit]) -> float:
    """Seconds of reading the arguments of the last call and writing its result, times the calls."""
    placed = [argument for argument in calls[-1].arguments() if isinstance(argument, ray.ObjectRef)]
    ray.get(placed)
    begun = time.monotonic()
    ray.get(placed)
    ray.put(visits[-1].result)
    return len(calls) * (time.monotonic() - begun)
