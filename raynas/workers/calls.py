"""The calls that cross to workers: one value per operation, each a pure function of a shard.

Any field may hold what `Pool.put` returned, or what a kept call did, instead of the value: the pool
puts the values in place before a call runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, final

import numpy as np

from raynas.space import Architecture

if TYPE_CHECKING:
    from raynas.evaluation.batch_norm.statistics import FixedStatistics
    from raynas.evaluation.batch_norm.vectors import ShardStatistics
    from raynas.evaluation.evaluator import Evaluator
    from raynas.evaluation.nodes import Mode
    from raynas.evaluation.scores import Outcomes
    from raynas.evaluation.settings import Arithmetic
    from raynas.evaluation.weights import Weights
    from raynas.shards.shard import Shard

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Call(ABC, Generic[Result]):
    """One operation on one shard, and what it is done with; `name` is that of the operation."""

    name: ClassVar[str]

    @property
    def operation(self) -> str:
        """The name of the operation that takes its time."""
        return self.name

    @abstractmethod
    def run(self, evaluator: Evaluator) -> Result:
        """Carry it out; every field is a value by now."""

    def arguments(self) -> tuple[Any, ...]:
        """The fields one by one, none inside another, as Ray wants references to its store."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def rebuild(cls, *arguments: Any) -> Call[Result]:
        """The call of these `arguments`, of which references have become values."""
        return cls(*arguments)


@final
@dataclass(frozen=True)
class Calibrate(Call["ShardStatistics"]):
    """Batch-norm statistics of every node that the architectures reach; see `Evaluator`."""

    name = "calibrate"

    shard: Shard
    architectures: Sequence[Architecture]
    arithmetic: Arithmetic

    def run(self, evaluator: Evaluator) -> ShardStatistics:
        """The statistics of this shard."""
        return evaluator.calibrate(self.shard, self.architectures, self.arithmetic)


@final
@dataclass(frozen=True)
class ScoreShard(Call["Outcomes"]):
    """The outcome of each architecture on each sample; see `Evaluator.score`."""

    name = "score"

    shard: Shard
    architectures: Sequence[Architecture]
    statistics: FixedStatistics
    arithmetic: Arithmetic

    def run(self, evaluator: Evaluator) -> Outcomes:
        """The outcomes on this shard."""
        return evaluator.score(self.shard, self.architectures, self.statistics, self.arithmetic)


@final
@dataclass(frozen=True)
class Advance(Call["tuple[Shard, ShardStatistics]"]):
    """The same samples behind a longer prefix; see `Evaluator.advance`."""

    name = "advance"

    shard: Shard
    prefix: Architecture
    statistics: Mode
    arithmetic: Arithmetic

    def run(self, evaluator: Evaluator) -> tuple[Shard, ShardStatistics]:
        """The shard behind the prefix, and what was recorded on the way."""
        return evaluator.advance(self.shard, self.prefix, self.statistics, self.arithmetic)


@final
@dataclass(frozen=True)
class GatherShards(Call["tuple[Shard, int]"]):
    """Some samples of several depth-0 shards as one shard.

    Args:
        shard: the first.
        rows: of each shard, the samples to keep, ascending.
        weights: `float64[n]`, the importance of all of them.
        more: the other shards.
    """

    name = "gather"

    shard: Shard
    rows: Sequence[np.ndarray]
    weights: np.ndarray
    more: tuple[Shard, ...] = ()

    def run(self, evaluator: Evaluator) -> tuple[Shard, int]:
        """The shard, and how many samples it holds."""
        return evaluator.gather(self.shard, self.rows, self.weights, *self.more)

    def arguments(self) -> tuple[Any, ...]:
        """The fields, each of the other shards by itself."""
        return (self.shard, self.rows, self.weights, *self.more)

    @classmethod
    def rebuild(cls, *arguments: Any) -> GatherShards:
        """The call of these `arguments`."""
        shard, rows, weights, *more = arguments
        return cls(shard, rows, weights, tuple(more))


@final
@dataclass(frozen=True)
class Under(Call[Any]):
    """Another call, run with the weights that a supernet has while it is trained.

    Args:
        weights: for this call and the next ones; a worker that has them already keeps them.
        call: to be run.
    """

    name = "under"

    weights: Weights
    call: Call[Any]

    @property
    def operation(self) -> str:
        """The name of the other call's."""
        return self.call.operation

    def run(self, evaluator: Evaluator) -> Any:
        """The result of the call."""
        evaluator.take(self.weights)
        return self.call.run(evaluator)

    def arguments(self) -> tuple[Any, ...]:
        """The weights, the kind of the call, and its arguments, each by itself."""
        return (self.weights, type(self.call), *self.call.arguments())

    @classmethod
    def rebuild(cls, *arguments: Any) -> Under:
        """The call of these `arguments`."""
        weights, kind, *inner = arguments
        return cls(weights, kind.rebuild(*inner))
