"""`RayPool`: evaluators in Ray actors, with dynamic dispatch and a retry loop of its own.

Ray neither runs an actor's call again nor replaces the actor unless told to, and then repeats a
call that kills its actor. So the pool owns both: a dead actor is replaced, the calls it held are
given to others, and a call that has killed two actors is given up by name. A death does not tell
which call was its cause, since the result of an earlier one may go down with the actor; so after
one, actors hold a single call each until all that it may have been are done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayTaskError

from raynas.errors import require
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.equivalence import equivalent_choices
from raynas.workers.dispatch import Residence, Waiting
from raynas.workers.pool import Call, WorkerCrashError
from raynas.workers.ray_actor import EvaluatorActor, on_cpu
from raynas.workers.ray_cluster import (
    describe,
    node_resources,
    resolve_workers,
    worker_resources,
)
from raynas.workers.ray_jobs import Job, Worker
from raynas.workers.ray_objects import DEAD, await_any, cause_of, home_of

DEPTH = 2
"""Calls that an actor holds at a time, so that it never waits for the driver."""

DEATHS = 2
"""Actors that one call may kill before it is given up, or that may die while starting."""

START_SECONDS = 120.0
"""How long to wait for actors when none is left to work."""


class RayPool:
    """Evaluators in Ray actors, over an existing connection to Ray.

    Args:
        supernet: each actor gets a replica through the object store.
        settings: the evaluation protocol.
        workers: how many actors; `None` for as many as the cluster holds.
        actor: the Ray actor class that they are of, with the methods of `RemoteEvaluator`.
        replica: what they start with instead of the supernet, if anything.

    Raises:
        InputError: more workers than the cluster has resources for.
    """

    def __init__(
        self,
        supernet: ChainSupernet,
        settings: Evaluation,
        workers: int | None = None,
        *,
        actor: Any = EvaluatorActor,
        replica: Any = None,
    ) -> None:
        nodes = node_resources()
        self._settings = settings
        self._each = worker_resources(settings, nodes)
        self._count = resolve_workers(workers, settings, nodes)
        self.equivalents = equivalent_choices(supernet)
        self._replica = ray.put(on_cpu(supernet) if replica is None else replica)
        self._actor = actor
        self._residence = Residence()
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

    @property
    def device(self) -> str:
        """What the started actors evaluate on.

        Raises:
            InputError: some are on a GPU, and some are not.
        """
        devices = sorted({machine["device"] for machine in self._machines()})
        require(
            len(devices) == 1,
            "device",
            "workers that are all on a GPU, or all on a CPU, since their results differ",
            devices,
            "Install CUDA's PyTorch on every node, or use device='cpu'.",
        )
        return devices[0]

    @property
    def machine(self) -> dict[str, str]:
        """The machine of the started actors; where they differ, all of them.

        Raises:
            InputError: some are on a GPU, and some are not.
        """
        machines = self._machines()
        names = machines[0] if machines else {}
        joined = {name: " + ".join(sorted({each[name] for each in machines})) for name in names}
        return {**joined, "device": self.device}

    @property
    def starting(self) -> list[Any]:
        """What tells that an actor has started, of those that have not yet."""
        return [worker.ready for worker in self._pool if worker.machine is None]

    def wait(self) -> None:
        """Wait until all actors hold their replicas, or until some have for a long time."""
        begun = time.monotonic()
        while starting := self.starting:
            done, _ = ray.wait(starting, num_returns=1, timeout=5.0)
            for ref in done:
                self._welcome(ref)
            late = time.monotonic() - begun > START_SECONDS
            if late and len(starting) < len(self._pool):
                return
            if late:
                self._require_actors(begun)

    def put(self, value: Any) -> Any:
        """Put a value into the object store."""
        return ray.put(value)

    def run(self, method: str, calls: Sequence[Call], *, keep: bool = False) -> list[Any]:
        """Run the calls on whichever actor is free; see `Pool.run`.

        Raises:
            LostObjectError: an argument went away with its node.
            WorkerCrashError: a call killed two actors, or no actor could be started.
        """
        count = len(calls)
        waiting = Waiting([home_of(call) for call in calls], self._residence)
        job = Job(method, calls, keep, waiting, {}, [0] * count, set(), [None] * count)
        try:
            self._finish(job)
        except Exception:
            self._drain(job)
            raise
        return job.results

    def close(self) -> None:
        """Kill the actors."""
        for worker in self._pool:
            ray.kill(worker.actor)
        self._pool = []

    def _machines(self) -> list[dict[str, str]]:
        return [worker.machine for worker in self._pool if worker.machine is not None]

    def _finish(self, job: Job) -> None:
        """Hand out calls and take in results until none is left."""
        alive = time.monotonic()
        while job.waiting or job.running:
            self._submit(job)
            done = await_any([*job.running, *self.starting], seconds=1.0)
            alive = time.monotonic() if done or job.running else alive
            self._require_actors(alive)
            for ref in done:
                if ref in job.running:
                    self._take(ref, job)
                elif ref in self.starting:
                    self._welcome(ref)

    def _submit(self, job: Job) -> None:
        """Give waiting calls to the started actors that hold the fewest.

        The last calls are given to actors that hold none, whichever those are: behind another
        call, they might wait for a slow actor while others have nothing to do.
        """
        started = [worker for worker in self._pool if worker.machine is not None]
        for held in range(1 if job.suspects else DEPTH):
            for worker in started:
                if len(job.waiting) <= (len(started) if held else 0):
                    break
                if len(worker.held) == held:
                    self._hand_out(job, worker)

    def _hand_out(self, job: Job, worker: Worker) -> None:
        """Give an actor a waiting call."""
        index = job.waiting.take(worker)
        worker.held.append(index)
        if job.keep:
            call = worker.actor.call_and_keep.options(num_returns=2)
            kept, ref = call.remote(job.method, *job.calls[index])
        else:
            kept, ref = None, worker.actor.call.remote(job.method, *job.calls[index])
        job.running[ref] = (index, worker, kept)

    def _take(self, ref: Any, job: Job) -> None:
        """Take in the result of a call, or find out what became of it."""
        index, worker, kept = job.running.pop(ref)
        try:
            value = ray.get(ref)
        except DEAD:
            self._bury(worker, job)
            return
        except RayTaskError as error:
            raise cause_of(error) from error
        except ObjectLostError:
            # The result itself, with the node it was made on: the call has to run again.
            job.waiting.give_back(index)
        else:
            job.results[index] = (kept, value) if job.keep else value
            job.suspects.discard(index)
        worker.held.remove(index)

    def _welcome(self, ready: Any) -> None:
        """Start to use an actor whose replica is in place, or replace it if it died before."""
        worker = next(worker for worker in self._pool if worker.ready == ready)
        try:
            machine: dict[str, str] = ray.get(ready)
        except DEAD as error:
            if worker.attempt >= DEATHS:
                raise WorkerCrashError(
                    f"{DEATHS} workers in a row died while they started: {error}"
                ) from error
            self._replace(worker, worker.attempt + 1)
        except RayTaskError as error:
            raise cause_of(error) from error
        else:
            worker.machine = machine

    def _bury(self, worker: Worker, job: Job) -> None:
        """Replace a dead actor and give its calls to others."""
        for ref in [ref for ref, (_, owner, _) in job.running.items() if owner is worker]:
            del job.running[ref]
        self._replace(worker)
        for index in worker.held:
            job.waiting.give_back(index)
            job.deaths[index] += 1
        job.suspects.update(worker.held)
        guilty = [index for index in worker.held if job.deaths[index] >= DEATHS]
        if guilty:
            raise WorkerCrashError(
                f"call {guilty[0]} of '{job.method}' killed {DEATHS} workers; out of memory, or a "
                "crash in native code. Use smaller shards, or workers with more memory."
            )

    def _hire(self, attempt: int = 1) -> Worker:
        actor = self._actor.options(
            num_cpus=self._each["CPU"], num_gpus=self._each.get("GPU", 0.0)
        ).remote()
        return Worker(actor, actor.start.remote(self._replica, self._settings), attempt)

    def _replace(self, worker: Worker, attempt: int = 1) -> None:
        """Put a new actor in the place of a dead one."""
        ray.kill(worker.actor)
        self._residence.forget(worker)
        self._pool[self._pool.index(worker)] = self._hire(attempt)
        self.replaced += 1

    def _drain(self, job: Job) -> None:
        """Wait for the calls under way, so that actors are free when an error is handled."""
        if job.running:
            ray.wait(list(job.running), num_returns=len(job.running), timeout=START_SECONDS)
        for worker in self._pool:
            worker.held.clear()

    def _require_actors(self, alive: float) -> None:
        """Give up when no actor has been able to work for a long time."""
        if time.monotonic() - alive > START_SECONDS:
            spare = ray.available_resources()
            raise WorkerCrashError(
                f"no worker could be started within {START_SECONDS:.0f} s: each needs "
                f"{describe(self._each)}, and the cluster has "
                f"{describe({name: spare.get(name, 0.0) for name in self._each})} to spare. "
                "Free resources, add nodes, or ask for fewer workers."
            )
