"""The thin remote wrapper of the evaluator."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import ray

from raynas.evaluation.device.allocator import keep_freed_memory
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet


class RemoteEvaluator:
    """One evaluator in a process of its own.

    It gets its replica by a call, not by its constructor, since Ray hands on the exceptions of
    calls only.
    """

    _evaluator: Evaluator

    def start(self, supernet: ChainSupernet, settings: Evaluation) -> dict[str, str]:
        """Take this actor's replica and the protocol; what it evaluates on."""
        self._evaluator = Evaluator(supernet, settings)
        if self._evaluator.device.type == "cpu":
            keep_freed_memory()
        return self._evaluator.machine

    def call(self, method: str, *arguments: Any) -> Any:
        """Run an evaluator method. Arguments in Ray's store arrive as values."""
        return getattr(self._evaluator, method)(*arguments)

    def call_and_keep(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        """Run an evaluator method that returns a pair, so that its first part can stay here."""
        return self.call(method, *arguments)


EvaluatorActor: Any = ray.remote(RemoteEvaluator)


def on_cpu(supernet: ChainSupernet) -> ChainSupernet:
    """The supernet, or a copy: workers without a GPU could not read one that is on a GPU."""
    tensors = chain(supernet.parameters(), supernet.buffers())
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return supernet
    return copy.deepcopy(supernet).to("cpu")
