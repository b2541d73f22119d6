"""The thin remote wrapper of the evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import ray

from raynas.evaluation.device.allocator import keep_freed_memory
from raynas.evaluation.device.machine import gpu_uuids
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Evaluation
from raynas.metering.sampler import Sampler, Snapshot, machine_sampler
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task
from raynas.workers.busy import Timed, run_timed
from raynas.workers.calls import Call
from raynas.workers.pool import make_evaluator
from raynas.workers.replicas import unpack
from raynas.workers.same_code import Fingerprint, require_same_code, require_same_task


@final
class RemoteEvaluator:
    """One evaluator in a process of its own.

    It gets its replica by a call, not by its constructor, since Ray hands on the exceptions of
    calls only.
    """

    _evaluator: Evaluator
    _sampler: Sampler

    def start(
        self,
        replica: bytes,
        evaluation: Evaluation,
        task: bytes | None = None,
        path: Sequence[str] = (),
        packed: Fingerprint | None = None,
        judged: str | None = None,
    ) -> dict[str, str]:
        """Unpack this actor's replica and task.

        Args:
            replica: a packed supernet.
            evaluation: the protocol.
            task: a packed one.
            path: the folders in which the driver looks for modules.
            packed: what the supernet computed where it was packed; not compared if omitted.
            judged: the `digest_of_packed` task there; likewise.

        Returns:
            The machine.

        Raises:
            InputError: a module that cannot be imported here, or that computes something else here,
                a task of other code, or a device that is not here.
        """
        given = None if task is None else unpack(task, path)
        require_same_task(given, judged)
        supernet = unpack(replica, path)
        require_same_code(supernet, packed)
        return self.hold(supernet, evaluation, given)

    def hold(
        self, supernet: ChainSupernet, evaluation: Evaluation, task: Task | None = None
    ) -> dict[str, str]:
        """Evaluate this supernet from now on; the machine."""
        self._evaluator = make_evaluator(supernet, evaluation, task)
        if self._evaluator.device.type == "cpu":
            keep_freed_memory()
        self._sampler = machine_sampler(gpu_uuids(self._evaluator.device)).start()
        return self._evaluator.machine

    def call(self, kind: type[Call], *arguments: Any) -> Timed:
        """Run the call of these arguments; those in Ray's store arrive as values."""
        return run_timed(kind.rebuild(*arguments), self._evaluator)

    def call_and_keep(self, kind: type[Call], *arguments: Any) -> tuple[Any, Timed]:
        """Run a call that returns a pair, so that its first part can stay here."""
        timed = self.call(kind, *arguments)
        kept, value = timed.value
        return kept, Timed(value, timed.seconds)

    def read_meter(self) -> Snapshot:
        """The energy of this machine and of this worker's GPU since the worker is there."""
        return self._sampler.snapshot()


EvaluatorActor: Any = ray.remote(RemoteEvaluator)
