"""The thin remote wrapper of the evaluator."""

from __future__ import annotations

from typing import Any

import ray

from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet


class RemoteEvaluator:
    """One evaluator in a process of its own.

    Args:
        supernet: this actor's replica.
        settings: the evaluation protocol.
    """

    def __init__(self, supernet: ChainSupernet, settings: Evaluation) -> None:
        self._evaluator = Evaluator(supernet, settings)

    def ready(self) -> str:
        """Answers once the replica is in place; the device it is on."""
        return str(self._evaluator.device)

    def call(self, method: str, *arguments: Any) -> Any:
        """Run an evaluator method. Arguments in Ray's store arrive as values."""
        return getattr(self._evaluator, method)(*arguments)

    def call_and_keep(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        """Run an evaluator method that returns a pair, so that its first part can stay here."""
        return self.call(method, *arguments)


EvaluatorActor: Any = ray.remote(RemoteEvaluator)
