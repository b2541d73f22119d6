"""The actors of a pool: started, awaited, replaced and ended."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any, final

import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raynas.errors import InputError, require
from raynas.workers.patience import Patience
from raynas.workers.pool import WorkerCrashError
from raynas.workers.ray_cluster import in_words, root_cause
from raynas.workers.ray_objects import DEAD, await_any, cause_of

LOG = logging.getLogger(__name__)

DEATHS = 2
"""Actors in a row that may die while starting before it is given up."""

UNINSTALLED = "failed to import on the worker"
"""Part of Ray's message where a worker cannot import the class of its actor."""

RESERVED = ("PREPARED", "CREATED")
"""The states of a placement group that the cluster has found room for."""

POLL_SECONDS = 1.0
"""The time to wait for anything to happen before the clock is read again."""


@final
@dataclass(frozen=True)
class ActorKind:
    """The kind of actor that every worker is.

    Args:
        actor: a Ray actor class with the methods of `RemoteEvaluator`.
        resources: that it reserves.
        start: the arguments of its `start`.
    """

    actor: Any
    resources: dict[str, float]
    start: tuple[Any, ...]


@final
@dataclass(eq=False)
class Worker:
    """An actor and the calls it holds, oldest first.

    Attributes:
        group: its resources. They are reserved apart from the actor, since that tells an actor
            that has them, and only loads, from one that the cluster has no room for.
        actor: its handle.
        started: a reference to its machine, there when its replica is.
        attempt: how many actors have been started for it since one was ready.
        reserved: whether it is known to have its resources.
        machine: of the worker, once it is ready.
        counted: whether this worker, or one that it replaces, has ever been ready.
        held: the indices of its calls.
    """

    group: PlacementGroup
    actor: Any
    started: Any
    attempt: int
    reserved: bool = False
    machine: dict[str, str] | None = None
    counted: bool = False
    held: deque[int] = field(default_factory=deque)

    def has_room(self) -> bool:
        """Whether the cluster has reserved its resources."""
        if not self.reserved:
            self.reserved = placement_group_table(self.group).get("state") in RESERVED
        return self.reserved

    def end(self) -> None:
        """End its actor, or withdraw it if it never started, and free its resources."""
        ray.kill(self.actor)
        remove_placement_group(self.group)


@final
class Workers:
    """A number of workers, of whom some may not have started.

    Args:
        count: how many.
        kind: of each.
        patience: how long to wait for them.
    """

    def __init__(self, count: int, kind: ActorKind, patience: Patience) -> None:
        self._kind = kind
        self._patience = patience
        self._progress = patience.clock()
        self._said = -1
        self.replaced = 0
        self._machines: list[dict[str, str]] = []
        self._all: list[Worker] = []
        try:
            for _ in range(count):
                self._all.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> list[Worker]:
        """The workers that can take calls."""
        return [worker for worker in self._all if worker.machine is not None]

    @property
    def count(self) -> int:
        """The number of workers that have been ready; of those wanted, if none has."""
        return sum(worker.counted for worker in self._all) or len(self._all)

    @property
    def actors(self) -> list[Any]:
        """The handles of all actors, whether they have started or not."""
        return [worker.actor for worker in self._all]

    @property
    def awaited(self) -> list[Any]:
        """The references that tell when those are ready that are not."""
        return [worker.started for worker in self._all if worker.machine is None]

    @property
    def machine(self) -> dict[str, str]:
        """The machine of those that have ever been ready; where they differ, all of them.

        Raises:
            InputError: some are on a GPU, and some are not.
        """
        names = self._machines[0] if self._machines else {}
        joined = {
            name: " + ".join(sorted({each[name] for each in self._machines})) for name in names
        }
        require(
            " + " not in joined.get("device", ""),
            "device",
            "workers that are all on a GPU, or all on a CPU, since their results differ",
            joined.get("device"),
            "Install CUDA's PyTorch on every node, or use device='cpu'.",
        )
        return joined

    def wait(self) -> None:
        """Wait until all are ready, or no more are to be expected soon.

        Raises:
            InputError: there is no room for any, or one cannot make its replica.
            WorkerCrashError: they die while they start.
        """
        self.note_progress()
        while self.awaited and self.is_worth_waiting():
            for reference in await_any(self.awaited, POLL_SECONDS):
                self.take_in(reference)

    def note_progress(self) -> None:
        """Start to count anew how long nothing has happened."""
        self._progress = self._patience.clock()

    def is_worth_waiting(self) -> bool:
        """Whether more workers are to be expected; say so once if some are missing.

        Raises:
            InputError: none is ready, and none is to be expected.
        """
        seconds = self._patience.clock() - self._progress
        if seconds < self._patience.quiet:
            return True
        waiting = [worker for worker in self._all if worker.machine is None]
        loading = sum(worker.has_room() for worker in waiting)
        without_room, ready = len(waiting) - loading, len(self.ready)
        verdict = self._patience.verdict(
            seconds, without_room=without_room, loading=loading, ready=ready
        )
        if verdict == "give up":
            raise InputError(
                "workers",
                f"resources for at least one: each needs {in_words(self._kind.resources)}",
                f"{self._free()} free in the cluster for {seconds:.0f} s",
                "Free resources, add nodes to the cluster, or use workers=0 (this process).",
            )
        if without_room and self._said != ready:
            self._said = ready
            LOG.warning(self._missing(ready, without_room))
        return verdict == "wait"

    def take_in(self, reference: Any) -> None:
        """Use a worker from now on that has started, or replace it if it died.

        Raises:
            InputError: it lacks a module, or cannot make its replica.
            WorkerCrashError: it is the second in a row that died.
        """
        worker = next((each for each in self._all if each.started == reference), None)
        if worker is None:
            return
        self.note_progress()
        try:
            worker.machine, worker.counted = ray.get(reference), True
            # Kept beyond its end: scores that it had a part in are being added up.
            self._machines.append(worker.machine)
        except DEAD as error:
            cause = root_cause(error)
            require(
                UNINSTALLED not in str(error),
                "workers",
                "raynas, and what it needs, on every node",
                cause,
                "Install it there, into the Python that Ray runs in.",
            )
            if worker.attempt >= DEATHS:
                raise WorkerCrashError(
                    f"{DEATHS} workers in a row died while they started: {cause}"
                ) from error
            self.replace(worker, worker.attempt + 1)
        except RayTaskError as error:
            raise cause_of(error) from error

    def replace(self, worker: Worker, attempt: int = 1) -> None:
        """Start another worker in place of one that died."""
        worker.end()
        other = self._start(attempt)
        other.counted = worker.counted
        self._all[self._all.index(worker)] = other
        self.replaced += 1

    def close(self) -> None:
        """End all actors, and withdraw those that never started."""
        for worker in self._all:
            worker.end()
        self._all = []

    def _start(self, attempt: int = 1) -> Worker:
        resources = self._kind.resources
        group = placement_group([resources])
        actor = self._kind.actor.options(
            num_cpus=resources["CPU"],
            num_gpus=resources.get("GPU", 0.0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
        ).remote()
        return Worker(group, actor, actor.start.remote(*self._kind.start), attempt)

    def _free(self) -> str:
        free = ray.available_resources()
        return in_words({name: free.get(name, 0.0) for name in self._kind.resources})

    def _missing(self, ready: int, without_room: int) -> str:
        """One line about workers that the cluster has no room for."""
        others = (
            f"going on with {ready}, others join when there is room"
            if ready
            else "waiting for room"
        )
        return (
            f"{without_room} of {len(self._all)} workers have not started: each needs "
            f"{in_words(self._kind.resources)}, and the cluster has {self._free()} free; {others}"
        )
