"""`RayPool`: evaluators in Ray actors, with dynamic dispatch and a retry loop of its own.

Ray neither runs an actor's call again nor replaces the actor unless told to, and then repeats a
call that kills its actor. So the pool owns both: a dead actor is replaced, the calls it held are
given to others, and a call that has killed two actors is given up by name.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError

from raynas.distributed.actors import EvaluatorActor
from raynas.distributed.cluster import resolve_workers, worker_resources
from raynas.distributed.pool import Call, LostObjectError, WorkerCrashError
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet

DEPTH = 2
"""Calls that an actor holds at a time, so that it never waits for the driver."""

DEATHS = 2
"""Actors that one call may kill before it is given up."""

START_SECONDS = 120.0
"""How long to wait for actors when none is left to work."""


@dataclass(eq=False)
class _Worker:
    """An actor and the calls it holds, oldest first."""

    actor: Any
    ready: Any
    started: bool = False
    held: deque[int] = field(default_factory=deque)


class RayPool:
    """Evaluators in Ray actors, over an existing connection to Ray.

    Args:
        supernet: each actor gets a replica through the object store.
        settings: the evaluation protocol.
        workers: how many actors; `None` for as many as the cluster holds.

    Raises:
        InputError: more workers than the cluster has resources for.
    """

    def __init__(
        self, supernet: ChainSupernet, settings: Evaluation, workers: int | None = None
    ) -> None:
        resources = ray.cluster_resources()
        self._settings = settings
        self._each = worker_resources(settings, resources)
        self._count = resolve_workers(workers, settings, resources)
        self._supernet = ray.put(supernet)
        self.replaced = 0
        self._pool = [self._hire() for _ in range(self._count)]

    @property
    def workers(self) -> int:
        """How many actors there are."""
        return self._count

    @property
    def gpus(self) -> int:
        """How many GPUs the actors hold."""
        return int(self._count * self._each.get("GPU", 0.0))

    def put(self, value: Any) -> Any:
        """Put a value into the object store."""
        return ray.put(value)

    def run(self, method: str, calls: Sequence[Call], *, keep: bool = False) -> list[Any]:
        """Run the calls on whichever actor is free; see `Pool.run`.

        Raises:
            LostObjectError: an argument went away with its node.
            WorkerCrashError: a call killed two actors, or no actor could be started.
        """
        waiting = deque(range(len(calls)))
        running: dict[Any, tuple[int, _Worker, Any]] = {}
        results: list[Any] = [None] * len(calls)
        deaths = [0] * len(calls)
        alive = time.monotonic()
        while waiting or running:
            self._submit(method, calls, keep, waiting, running)
            starting = [worker.ready for worker in self._pool if not worker.started]
            done, _ = ray.wait([*running, *starting], num_returns=1, timeout=5.0)
            alive = time.monotonic() if done or running else alive
            self._require_actors(alive)
            for ref in done:
                if ref not in running:
                    self._welcome(ref)
                    continue
                index, worker, kept = running.pop(ref)
                try:
                    value = ray.get(ref)
                except (ActorDiedError, ActorUnavailableError):
                    self._bury(worker, method, waiting, running, deaths)
                except (ObjectLostError, RayTaskError) as error:
                    self._drain(running)
                    raise _cause(error) from error
                else:
                    worker.held.remove(index)
                    results[index] = (kept, value) if keep else value
        return results

    def close(self) -> None:
        """Kill the actors."""
        for worker in self._pool:
            ray.kill(worker.actor)
        self._pool = []

    def _hire(self) -> _Worker:
        options = EvaluatorActor.options(
            num_cpus=self._each["CPU"], num_gpus=self._each.get("GPU", 0.0)
        )
        actor = options.remote(self._supernet, self._settings)
        return _Worker(actor, actor.ready.remote())

    def _submit(
        self,
        method: str,
        calls: Sequence[Call],
        keep: bool,
        waiting: deque[int],
        running: dict[Any, tuple[int, _Worker, Any]],
    ) -> None:
        """Give waiting calls to the started actors that hold the fewest."""
        while waiting:
            free = [w for w in self._pool if w.started and len(w.held) < DEPTH]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.held))
            index = waiting.popleft()
            worker.held.append(index)
            if keep:
                call = worker.actor.call_and_keep.options(num_returns=2)
                kept, ref = call.remote(method, *calls[index])
            else:
                kept, ref = None, worker.actor.call.remote(method, *calls[index])
            running[ref] = (index, worker, kept)

    def _welcome(self, ready: Any) -> None:
        """Start to use an actor whose replica is in place, or replace it if it died before."""
        worker = next(worker for worker in self._pool if worker.ready == ready)
        try:
            ray.get(ready)
        except (ActorDiedError, ActorUnavailableError) as error:
            raise WorkerCrashError(f"a worker died while it started: {error}") from error
        except RayTaskError as error:
            raise _cause(error) from error
        worker.started = True

    def _bury(
        self,
        worker: _Worker,
        method: str,
        waiting: deque[int],
        running: dict[Any, tuple[int, _Worker, Any]],
        deaths: list[int],
    ) -> None:
        """Replace a dead actor and give its calls to others."""
        for ref in [ref for ref, (_, owner, _) in running.items() if owner is worker]:
            del running[ref]
        suspect = worker.held[0]
        deaths[suspect] += 1
        if deaths[suspect] >= DEATHS:
            raise WorkerCrashError(
                f"call {suspect} of '{method}' killed {DEATHS} workers; out of memory, or a crash "
                "in native code. Use smaller shards, or workers with more memory."
            )
        waiting.extendleft(sorted(worker.held, reverse=True))
        ray.kill(worker.actor)
        self._pool.remove(worker)
        self._pool.append(self._hire())
        self.replaced += 1

    def _drain(self, running: dict[Any, tuple[int, _Worker, Any]]) -> None:
        """Wait for the calls under way, so that actors are free when an error is handled."""
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=START_SECONDS)
        for worker in self._pool:
            worker.held.clear()

    def _require_actors(self, alive: float) -> None:
        """Give up when no actor has been able to work for a long time."""
        if time.monotonic() - alive > START_SECONDS:
            raise WorkerCrashError(
                f"no worker could be started within {START_SECONDS:.0f} s: each needs "
                f"{self._each}, the cluster has {ray.available_resources()} to give. "
                "Free resources, add nodes, or ask for fewer workers."
            )


def _cause(error: Exception) -> Exception:
    """What went wrong inside a call: the worker's own exception, or a lost argument."""
    cause = getattr(error, "cause", None)
    if isinstance(error, ObjectLostError) or isinstance(cause, ObjectLostError):
        return LostObjectError(str(error))
    return cause if isinstance(cause, Exception) else error
