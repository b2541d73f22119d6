"""`TablePool`: plays the workers of a search from a table, so that thousands of searches are cheap.

`PopulationEvaluator`, the selection of samples, the strategies and the loop are the library's own
and run unchanged: whatever changes in them changes what is found here. Only what workers do is
looked up. Block-forwards are counted as a worker would have executed them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import raynas
from raynas.evaluation.batch_norm.vectors import ShardStatistics
from raynas.evaluation.scores import Outcomes
from raynas.evaluation.settings import Arithmetic
from raynas.ledger.ledger import Ledger
from raynas.metering.sampler import Snapshot
from raynas.population.evaluated import Known, Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets.identity import digest
from raynas.task import Task, classification_or
from raynas.testing.tables import Table, parts_of
from raynas.workers.calls import Advance, Calibrate, Call, GatherShards, ScoreShard
from raynas.workers.pool import PoolSettings

History = tuple[Architecture, ...]
"""The prefixes that samples were advanced to, one after another; empty at the images."""


class OutcomeSource(Protocol):
    """Outcomes of candidates, wherever they come from."""

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> Outcomes:
        """The outcomes of candidates on samples that were advanced along a history."""


@dataclass(frozen=True)
class TableSource:
    """Outcomes from a table: at 32 bits a frozen prefix changes nothing."""

    table: Table

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> Outcomes:
        """The outcomes of candidates on samples."""
        return self.table.look_up(architectures).on(samples)


@dataclass(frozen=True)
class Samples:
    """A stand-in for a shard: the ids of its samples, and where they have been advanced to."""

    ids: np.ndarray = field(repr=False)
    history: History = ()

    @property
    def prefix(self) -> Architecture:
        """The frozen choices that the samples are behind."""
        return self.history[-1] if self.history else ()


class TablePool:
    """A pool whose workers know every answer.

    Args:
        outcomes: the answers under the protocol that candidates are ranked under.
        exact: the answers under the full protocol, in which winners are chosen.
        sharing: whether workers share the prefixes of a population, as `Evaluation.prefix_sharing`.
    """

    workers = 0
    gpus = 0
    device = "cpu"

    def __init__(self, outcomes: OutcomeSource, exact: Table, *, sharing: bool = True) -> None:
        self.settings = PoolSettings(raynas.Evaluation(device="cpu"))
        self.machine = exact.machine
        self._outcomes = outcomes
        self._exact = TableSource(exact)
        self._sharing = sharing

    @property
    def busy(self) -> dict[str, float]:
        """Nothing: looking up is no work of workers."""
        return {}

    def read_meters(self) -> list[Snapshot]:
        """Nothing: no machine works."""
        return []

    def wait(self) -> None:
        """Return: there is nothing to wait for."""

    def put(self, value: Any) -> Any:
        """The samples of a shard; any other value itself."""
        return Samples(np.array(value.samples)) if isinstance(value, Shard) else value

    def run(
        self,
        calls: Sequence[Call[Any]],
        *,
        keep: bool = False,
        finished: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Answer the calls, as an evaluator would."""
        answers: dict[type[Call[Any]], Callable[..., Any]] = {
            Calibrate: self._calibrate,
            ScoreShard: self._score,
            GatherShards: self._gather,
            Advance: self._advance,
        }
        results = [answers[type(call)](*call.arguments()) for call in calls]
        if finished is not None:
            finished(len(results))
        return results

    def close(self) -> None:
        """Return: there is nothing to end."""

    def _calibrate(
        self, shard: Samples, architectures: Sequence[Architecture], arithmetic: Arithmetic
    ) -> ShardStatistics:
        """No statistics, but the block-forwards that they take."""
        return ShardStatistics({}, self._executed(shard.prefix, architectures) * len(shard.ids))

    def _score(
        self,
        shard: Samples,
        architectures: Sequence[Architecture],
        statistics: Any,
        arithmetic: Arithmetic,
    ) -> Outcomes:
        """The outcomes on the shard's samples."""
        forwards = self._executed(shard.prefix, architectures) * len(shard.ids)
        source = self._exact if in_full(shard, arithmetic) else self._outcomes
        known = source.look_up(shard.history, architectures, shard.ids)
        return replace(known, block_forwards=forwards)

    def _gather(
        self, shard: Samples, rows: Sequence[np.ndarray], weights: np.ndarray, *more: Samples
    ) -> tuple[Samples, int]:
        """Some samples of several shards."""
        pieces = zip((shard, *more), rows, strict=True)
        ids = np.concatenate([each.ids[kept] for each, kept in pieces])
        return Samples(ids, shard.history), len(ids)

    def _advance(
        self, shard: Samples, prefix: Architecture, statistics: Any, arithmetic: Arithmetic
    ) -> tuple[Samples, ShardStatistics]:
        """The samples, one step further in their history."""
        forwards = (len(prefix) - len(shard.prefix)) * len(shard.ids)
        history = (*shard.history, tuple(prefix))
        return Samples(shard.ids, history), ShardStatistics({}, forwards)

    def _executed(self, prefix: Architecture, architectures: Sequence[Architecture]) -> int:
        """The blocks that a population takes on each sample behind a prefix."""
        return executed_blocks(prefix, architectures, sharing=self._sharing)


def in_full(shard: Samples, arithmetic: Arithmetic) -> bool:
    """Whether a call may be one under the full protocol, as winners are scored."""
    return arithmetic == Arithmetic() and not shard.history


def write_ledger(
    table: Table,
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.Evaluation,
    path: Path,
    task: Task | None = None,
) -> None:
    """Add every score of a table to a ledger, as searches of the supernet look them up.

    Args:
        table: of the supernet.
        supernet: trained.
        data: the splits that the table is of.
        settings: the protocol that it is of.
        path: of the ledger, created if missing.
        task: of the search; classification if omitted.
    """
    pool = TablePool(TableSource(table), table)
    judged = classification_or(task, supernet.num_classes)
    with Ledger(path) as ledger:
        known = Known(ledger, digest(supernet), judged.description())
        splits = Splits(data.calibration, data.validation)
        evaluator = PopulationEvaluator(pool, splits, settings, 0, known)
        for part in parts_of(table.space):
            evaluator.score(part)


def executed_blocks(
    prefix: Architecture, architectures: Sequence[Architecture], *, sharing: bool = True
) -> int:
    """Blocks executed for each sample: the nodes of the prefix trie that are behind the prefix."""
    depth = len(prefix)
    if not sharing:
        return sum(len(architecture) - depth for architecture in architectures)
    longest = max((len(architecture) for architecture in architectures), default=depth)
    return sum(len({a[:end] for a in architectures}) for end in range(depth + 1, longest + 1))
