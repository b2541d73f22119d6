"""What runs evaluator calls: the interface, and the pool in the driver's own process."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task
from raynas.workers.calls import Call


class LostObjectError(RuntimeError):
    """An object of the store went away with its node, and has to be made again."""


class WorkerCrashError(RuntimeError):
    """A call that killed every worker it ran on, or a cluster that cannot hold any worker."""


class Pool(Protocol):
    """Workers that each hold an evaluator of the same supernet and protocol.

    Results never depend on which worker runs a call.
    """

    @property
    def workers(self) -> int:
        """How many actors there are; 0 if calls run in this process."""

    @property
    def gpus(self) -> int:
        """How many GPUs the workers hold."""

    @property
    def device(self) -> str:
        """What the workers evaluate on, `"cpu"` or `"cuda"`; known once they are there."""

    @property
    def machine(self) -> dict[str, str]:
        """The machine of the workers (`device.machine.describe`); likewise."""

    def wait(self) -> None:
        """Wait until the workers are there, so that no later call pays for their start.

        Raises:
            WorkerCrashError: none could be started.
        """

    def put(self, value: Any) -> Any:
        """Share a value with all workers; the result stands for it as an argument of calls."""

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run calls, each on one worker.

        Args:
            calls: independent of each other.
            keep: for calls that return a pair: leave the first of the pair in the store, and
                return what stands for it.

        Returns:
            The results, in the order of the calls.

        Raises:
            LostObjectError: an argument is no longer in the store.
        """

    def close(self) -> None:
        """End the workers."""


class LocalPool:
    """One evaluator in this process: for debugging, and the reference for all other pools.

    Args:
        supernet: copied, so that the caller's stays as it is.
        settings: the evaluation protocol.
        task: how outputs are judged; classification if omitted.
    """

    workers = 0

    def __init__(
        self, supernet: ChainSupernet, settings: Evaluation, task: Task | None = None
    ) -> None:
        with torch.inference_mode(False):
            self.evaluator = Evaluator(copy.deepcopy(supernet), settings, task)

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
        """That of this process."""
        return self.evaluator.machine

    def wait(self) -> None:
        """Nothing to wait for."""

    def put(self, value: Any) -> Any:
        """The value itself."""
        return value

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run the calls one after another."""
        return [call.run(self.evaluator) for call in calls]

    def close(self) -> None:
        """Nothing to end."""
