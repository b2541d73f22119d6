"""`RayPool`: evaluators in Ray actors, with dynamic dispatch and a retry loop of its own.

Ray neither runs an actor's call again nor replaces the actor unless told to, and then repeats a
call that kills its actor. So the pool owns both: a dead actor is replaced, the calls it held are
given to others, and a call that has killed two actors is given up by name. A death does not tell
which call was its cause, since the result of an earlier one may go down with the actor; so after
one, actors hold a single call each until all that it may have been are done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeVar, final

import ray
from ray.exceptions import ObjectLostError, RayTaskError

from raynas.errors import InputError
from raynas.evaluation.settings import Evaluation
from raynas.files import Record
from raynas.metering.sampler import Snapshot
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task
from raynas.workers.busy import BusySeconds
from raynas.workers.calls import Call
from raynas.workers.patience import Patience
from raynas.workers.pool import PoolSettings, WorkerCrashError
from raynas.workers.ray_actor import EvaluatorActor
from raynas.workers.ray_cluster import node_resources, resolve_workers, worker_resources
from raynas.workers.ray_job import Job
from raynas.workers.ray_meters import read_meters
from raynas.workers.ray_metrics import SearchGauges
from raynas.workers.ray_objects import DEAD, await_any, cause_of
from raynas.workers.ray_workers import POLL_SECONDS, ActorKind, Worker, Workers
from raynas.workers.replicas import module_folders, pack, pack_task
from raynas.workers.same_code import digest_of_packed, fingerprint

T = TypeVar("T")

DEPTH = 2
"""Calls that an actor holds at a time, so that it never waits for the driver."""

DEATHS = 2
"""Actors that one call may kill before it is given up."""

DRAIN_SECONDS = 120.0
"""The time to wait for calls under way when another has failed."""


@final
@dataclass(frozen=True)
class ActorOptions:
    """The way in which the actors of a pool are made; for tests and measurements.

    Args:
        actor: the Ray actor class that they are of, with the methods of `RemoteEvaluator`.
        replica: given to them in place of a packed supernet, if any.
        patience: how long to wait for them.
    """

    actor: Any = EvaluatorActor
    replica: Any = None
    patience: Patience = field(default_factory=Patience)


@final
class RayPool:
    """Evaluators in Ray actors, over an existing connection to Ray.

    Args:
        supernet: each actor gets a replica through the object store.
        evaluation: the protocol.
        workers: how many actors; `None` for as many as the cluster holds.
        task: of the supernet.
        digest: of the supernet, for `settings`.
        options: other actors than evaluators, and how long to wait for them.

    Raises:
        InputError: more workers than the cluster has resources for, or a module that cannot be sent
            to them.
    """

    def __init__(
        self,
        supernet: ChainSupernet,
        evaluation: Evaluation,
        workers: int | None = None,
        *,
        task: Task | None = None,
        digest: str = "",
        options: ActorOptions | None = None,
    ) -> None:
        self.settings = PoolSettings(evaluation, task, digest)
        nodes = node_resources()
        count = resolve_workers(workers, evaluation, nodes)
        self._each = worker_resources(evaluation, nodes)
        chosen = options or ActorOptions()
        replica, packed = chosen.replica, None
        if replica is None:
            replica, packed = pack(supernet), fingerprint(supernet)
        packed_task = None if task is None else pack_task(task)
        judged = None if packed_task is None else digest_of_packed(packed_task)
        start = (ray.put(replica), evaluation, packed_task, module_folders(), packed, judged)
        kind = ActorKind(chosen.actor, self._each, start)
        self._workers = Workers(count, kind, chosen.patience)
        self._gauges = SearchGauges()
        self._busy = BusySeconds()

    @property
    def workers(self) -> int:
        """The number of actors that have worked; until one is ready, of those wanted."""
        return self._workers.count

    @property
    def gpus(self) -> int:
        """The number of GPUs that these actors hold."""
        return int(self.workers * self._each.get("GPU", 0.0))

    @property
    def device(self) -> str:
        """The device of the actors; see `machine`."""
        return self.machine.get("device", "")

    @property
    def machine(self) -> dict[str, str]:
        """The machine of the actors that have ever been ready; where they differ, all of them.

        Raises:
            InputError: some are on a GPU, and some are not.
        """
        return self._workers.machine

    @property
    def actors(self) -> list[Any]:
        """The handles of all actors."""
        return self._workers.actors

    @property
    def replaced(self) -> int:
        """The number of actors that have died and been replaced."""
        return self._workers.replaced

    @property
    def busy(self) -> dict[str, float]:
        """Seconds that actors have been busy so far, by operation."""
        return self._busy.by_operation

    def read_meters(self) -> list[Snapshot]:
        """The meter of every actor that answers; see `Pool.read_meters`."""
        return read_meters(self._workers.ready)

    def wait(self) -> None:
        """Wait until the actors are ready for which the cluster has room; see `Pool.wait`."""
        self._workers.wait()

    def put(self, value: T) -> T:
        """Put a value into the object store."""
        return ray.put(value)  # type: ignore[return-value]

    def run(
        self,
        calls: Sequence[Call[T]],
        *,
        keep: bool = False,
        finished: Callable[[int], None] | None = None,
    ) -> list[T]:
        """Run the calls on whichever actor is free; see `Pool.run`.

        Raises:
            LostObjectError: an argument went away with its node.
            WorkerCrashError: a call killed two actors, or no actor could be started.
        """
        job = Job(calls, keep, finished)
        try:
            self._finish(job)
        except BaseException as error:
            # Somebody who interrupts does not wait, but may use the pool again.
            self._drain(job, DRAIN_SECONDS if isinstance(error, Exception) else 0.0)
            self._gauges.queue(0)
            raise
        return job.results

    def publish(self, run: str, record: Record, metrics: Record) -> None:
        """Show a generation on Ray's Prometheus endpoint; see `SearchGauges.generation`."""
        self._gauges.generation(run, record, metrics)

    def close(self) -> None:
        """End the actors."""
        self._workers.close()

    def _finish(self, job: Job) -> None:
        """Hand out calls and take in results until none is left."""
        self._workers.note_progress()
        while job.waiting or job.running:
            self._hand_out(job)
            done = await_any([*job.running, *self._workers.awaited], POLL_SECONDS)
            if done or job.running:
                self._workers.note_progress()
            try:
                self._workers.is_worth_waiting()
            except InputError as error:
                raise WorkerCrashError(f"no worker is left. {error}") from error
            for ref in done:
                if ref in job.running:
                    self._take_result(ref, job)
                else:
                    self._workers.take_in(ref)
            if done:
                self._gauges.queue(job.open)
                job.tell()

    def _hand_out(self, job: Job) -> None:
        """Give waiting calls to the actors that hold the fewest.

        The last calls are given to actors that hold none, whichever those are: behind another
        call, they might wait for a slow actor while others have nothing to do.
        """
        ready = self._workers.ready
        for held in range(1 if job.suspects else DEPTH):
            for worker in ready:
                if len(job.waiting) <= (len(ready) if held else 0):
                    break
                if len(worker.held) == held:
                    self._submit(job, worker)

    def _submit(self, job: Job, worker: Worker) -> None:
        """Give an actor the first waiting call, its fields one by one: see `Call.arguments`."""
        index = heappop(job.waiting)
        worker.held.append(index)
        call = job.calls[index]
        if job.keep:
            method = worker.actor.call_and_keep.options(num_returns=2)
            kept, ref = method.remote(type(call), *call.arguments())
        else:
            kept, ref = None, worker.actor.call.remote(type(call), *call.arguments())
        job.running[ref] = (index, worker, kept)

    def _take_result(self, ref: Any, job: Job) -> None:
        """Take in the result of a call, or find out what became of it."""
        index, worker, kept = job.running.pop(ref)
        try:
            timed = ray.get(ref)
        except DEAD:
            self._replace(worker, job)
            return
        except RayTaskError as error:
            raise cause_of(error) from error
        except ObjectLostError:
            # The result itself, with the node it was made on: the call has to run again.
            heappush(job.waiting, index)
        else:
            value = self._busy.take(job.calls[index], timed)
            job.results[index] = (kept, value) if job.keep else value
            job.suspects.discard(index)
        worker.held.remove(index)

    def _replace(self, worker: Worker, job: Job) -> None:
        """Replace a dead actor and give its calls to others."""
        for ref in [ref for ref, (_, owner, _) in job.running.items() if owner is worker]:
            del job.running[ref]
        self._workers.replace(worker)
        for index in worker.held:
            heappush(job.waiting, index)
            job.deaths[index] += 1
        job.suspects.update(worker.held)
        guilty = [index for index in worker.held if job.deaths[index] >= DEATHS]
        if guilty:
            raise WorkerCrashError(
                f"call {guilty[0]} of '{job.calls[guilty[0]].name}' killed {DEATHS} workers; "
                "out of memory, or a crash in native code. Use smaller shards, or workers with "
                "more memory."
            )

    def _drain(self, job: Job, seconds: float) -> None:
        """Wait for the calls under way, so that actors are free when an error is handled."""
        if job.running:
            ray.wait(list(job.running), num_returns=len(job.running), timeout=seconds)
        for worker in self._workers.ready:
            worker.held.clear()
