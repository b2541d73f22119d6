"""Pools that run calls: the interface, and the pool in the driver's own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, final, runtime_checkable

import torch

from raynas.errors import require
from raynas.evaluation.device.machine import gpu_uuids
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Evaluation
from raynas.files import Record
from raynas.metering import nvml
from raynas.metering.sampler import Sampler, Snapshot
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.value_digest import identity_of_task
from raynas.task import Task
from raynas.workers.busy import BusySeconds, run_timed
from raynas.workers.calls import Call
from raynas.workers.replicas import private_copy

T = TypeVar("T")


@final
class LostObjectError(RuntimeError):
    """An object of the store went away with its node, and has to be made again."""


@final
class WorkerCrashError(RuntimeError):
    """A call that killed every worker it ran on, or a cluster that cannot hold any worker."""


@final
@dataclass(frozen=True)
class PoolSettings:
    """The settings that a pool was opened with, on which all its results depend.

    Args:
        evaluation: the protocol. What the driver decides on may be another in each search.
        task: of the supernet; `None` for the classification of its `num_classes`.
        supernet: its digest when the pool was opened; empty where nobody took it.
    """

    evaluation: Evaluation
    task: Task | None = None
    supernet: str = ""
    judged: dict[str, Any] = field(init=False, compare=False, repr=False)
    """The task as it was when the pool was opened: workers may hold copies of it."""

    def __post_init__(self) -> None:
        judged = {} if self.task is None else identity_of_task(self.task)
        object.__setattr__(self, "judged", judged)

    def require_same(self, wanted: PoolSettings) -> None:
        """Raise `InputError` unless a search that wants these settings can use the pool."""
        for name, mine, other in (
            ("supernet", self.supernet, wanted.supernet),
            ("evaluation", self.evaluation.held_by_workers, wanted.evaluation.held_by_workers),
            ("task", self.judged, wanted.judged),
        ):
            require(
                mine == other,
                "pool",
                f"one that was opened with the same {name} as the search",
                f"one for {mine!r} beside {other!r}",
                "Open a pool with those of the search, after the supernet was trained.",
            )


class Pool(Protocol):
    """Workers that each hold an evaluator of the same supernet, protocol and task.

    Results never depend on which worker runs a call, nor on earlier calls, so that one pool serves
    several searches one after the other.
    """

    @property
    def settings(self) -> PoolSettings:
        """The settings that the pool was opened with."""

    @property
    def workers(self) -> int:
        """The number of actors that have worked or can; of those wanted, until some have started.

        0 if calls run in this process.
        """

    @property
    def gpus(self) -> int:
        """The number of GPUs that the workers hold."""

    @property
    def device(self) -> str:
        """The kind of device of the workers, `"cpu"` or `"cuda"`; known once they are there."""

    @property
    def machine(self) -> dict[str, str]:
        """The machine of the workers (`device.machine.machine_facts`); likewise."""

    @property
    def busy(self) -> dict[str, float]:
        """Seconds that the workers have been busy so far, added up, by `Call.operation`."""

    def read_meters(self) -> list[Snapshot]:
        """The energy that workers have seen used by their machines and GPUs, one of each.

        A worker that does not answer is left out.
        """

    def wait(self) -> None:
        """Wait until the workers are there, so that no later call pays for their start.

        Where the cluster has room for some only, those have to do.

        Raises:
            InputError: the cluster has room for none, or a worker cannot make its replica.
            WorkerCrashError: workers die while they start.
        """

    def put(self, value: T) -> T:
        """Share a value with all workers; what is returned may stand for it in calls."""

    def run(
        self,
        calls: Sequence[Call[T]],
        *,
        keep: bool = False,
        finished: Callable[[int], None] | None = None,
    ) -> list[T]:
        """Run calls.

        Args:
            calls: any number of them.
            keep: for calls that return a pair: leave the first of the pair in the store, and
                return what stands for it.
            finished: is told how many are done, whenever more are; never of fewer than before.

        Returns:
            The results, in the order of the calls.

        Raises:
            LostObjectError: an argument is no longer in the store.
            WorkerCrashError: a call kills its workers, or none is left.
        """

    def close(self) -> None:
        """End the workers."""


@runtime_checkable
class Publisher(Protocol):
    """A pool that shows the generations of a search to whoever watches its workers."""

    def publish(self, run: str, record: Record, metrics: Record) -> None:
        """Show a generation.

        Args:
            run: the run directory.
            record, metrics: of the generation.
        """


@final
class LocalPool:
    """One evaluator in this process: for debugging, and the reference for all other pools.

    Args:
        supernet: copied, so that the caller's stays as it is.
        evaluation: the protocol.
        task: of the supernet.
        digest: of the supernet, for `settings`.

    Raises:
        InputError: a module that cannot be copied.
    """

    workers = 0

    def __init__(
        self,
        supernet: ChainSupernet,
        evaluation: Evaluation,
        *,
        task: Task | None = None,
        digest: str = "",
    ) -> None:
        self.settings = PoolSettings(evaluation, task, digest)
        # A copy made in inference mode could not be calibrated.
        with torch.inference_mode(False):
            self.evaluator = make_evaluator(private_copy(supernet), evaluation, task)
        self._busy = BusySeconds()
        self._sampler: Sampler | None = None

    @property
    def gpus(self) -> int:
        """1 if the evaluator is on a GPU."""
        return int(self.device == "cuda")

    @property
    def device(self) -> str:
        """The device of the evaluator."""
        return self.evaluator.device.type

    @property
    def machine(self) -> dict[str, str]:
        """The machine of this process."""
        return self.evaluator.machine

    @property
    def busy(self) -> dict[str, float]:
        """Seconds that the evaluator has been busy so far, by operation."""
        return self._busy.by_operation

    def read_meters(self) -> list[Snapshot]:
        """The evaluator's GPU; a search sees the processors of this machine by itself."""
        if self._sampler is None and self.gpus:
            self._sampler = Sampler(nvml.gpus(gpu_uuids(self.evaluator.device))).start()
        return [] if self._sampler is None else [self._sampler.snapshot()]

    def wait(self) -> None:
        """Return: there is nothing to wait for."""

    def put(self, value: T) -> T:
        """The value itself."""
        return value

    def run(
        self,
        calls: Sequence[Call[T]],
        *,
        keep: bool = False,
        finished: Callable[[int], None] | None = None,
    ) -> list[T]:
        """Run the calls one after another."""
        results: list[T] = []
        for call in calls:
            results.append(self._busy.take(call, run_timed(call, self.evaluator)))
            if finished is not None:
                finished(len(results))
        return results

    def close(self) -> None:
        """Stop to read the GPU's meter."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None


def make_evaluator(supernet: ChainSupernet, evaluation: Evaluation, task: Task | None) -> Evaluator:
    """The evaluator of a replica; of a task only if there is one."""
    more = {} if task is None else {"task": task}
    return Evaluator(supernet, evaluation, **more)  # type: ignore[arg-type]
