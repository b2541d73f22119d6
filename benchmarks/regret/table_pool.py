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
from exhaustive import History, Table, all_different, parts_of

import raynas
from raynas.evaluation.batch_norm.vectors import ShardStatistics
from raynas.evaluation.device.numerics import Arithmetic
from raynas.evaluation.scores import ShardScores
from raynas.ledger.ledger import Ledger
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets.checkpoints import digest
from raynas.workers.calls import Call
from raynas.workers.pool import PoolSettings


class Outcomes(Protocol):
    """Where outcomes are looked up."""

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> ShardScores:
        """What candidates say of samples that were advanced along a history."""


@dataclass(frozen=True)
class Samples:
    """What stands for a shard: the ids of its samples, and where they have been advanced to."""

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

    def __init__(self, outcomes: Outcomes, exact: Table, *, sharing: bool = True) -> None:
        self.settings = PoolSettings(raynas.Evaluation(device="cpu"))
        self.equivalents = all_different(exact.space)
        self.machine = exact.machine
        self.outcomes = outcomes
        self.exact = exact
        self.sharing = sharing

    def wait(self) -> None:
        """Nothing to wait for."""

    def put(self, value: Any) -> Any:
        """The samples of a shard; any other value itself."""
        return Samples(np.array(value.samples)) if isinstance(value, Shard) else value

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Answer the calls, as the evaluator's method of that name would."""
        answers: dict[str, Callable[..., Any]] = {
            "calibrate": self.calibrate,
            "score": self.score,
            "gather": self.gather,
            "advance": self.advance,
        }
        return [answers[call.name](*call.arguments()) for call in calls]

    def calibrate(
        self, shard: Samples, architectures: Sequence[Architecture], arithmetic: Arithmetic
    ) -> ShardStatistics:
        """No statistics, but the block-forwards that they take."""
        return ShardStatistics({}, self.executed(shard.prefix, architectures) * len(shard.ids))

    def score(
        self,
        shard: Samples,
        architectures: Sequence[Architecture],
        statistics: Any,
        arithmetic: Arithmetic,
    ) -> ShardScores:
        """The outcomes of the shard's samples."""
        forwards = self.executed(shard.prefix, architectures) * len(shard.ids)
        known = (self.exact if in_full(shard, arithmetic) else self.outcomes).look_up(
            shard.history, architectures, shard.ids
        )
        return replace(known, block_forwards=forwards)

    def gather(
        self, shard: Samples, rows: Sequence[np.ndarray], weights: np.ndarray, *more: Samples
    ) -> tuple[Samples, int]:
        """Some samples of several shards."""
        pieces = zip((shard, *more), rows, strict=True)
        ids = np.concatenate([each.ids[kept] for each, kept in pieces])
        return Samples(ids, shard.history), len(ids)

    def advance(
        self, shard: Samples, prefix: Architecture, statistics: Any, arithmetic: Arithmetic
    ) -> tuple[Samples, ShardStatistics]:
        """The samples, one step further in their history."""
        forwards = (len(prefix) - len(shard.prefix)) * len(shard.ids)
        history = (*shard.history, tuple(prefix))
        return Samples(shard.ids, history), ShardStatistics({}, forwards)

    def executed(self, prefix: Architecture, architectures: Sequence[Architecture]) -> int:
        """How many blocks a population takes on each sample behind a prefix."""
        return executed_blocks(prefix, architectures, sharing=self.sharing)

    def close(self) -> None:
        """Nothing to end."""


def in_full(shard: Samples, arithmetic: Arithmetic) -> bool:
    """Whether a call may be one under the full protocol, as winners are scored."""
    return arithmetic == Arithmetic() and not shard.history


def write_ledger(
    table: Table,
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.Evaluation,
    path: Path,
) -> None:
    """Add every score of a table to a ledger, as searches of the supernet look them up.

    Args:
        table: of the supernet.
        supernet: trained.
        data: the splits that the table is of.
        settings: the protocol that it is of.
        path: of the ledger, created if missing.
    """
    pool = TablePool(table, table)
    splits = (data.calibration, data.validation)
    with Ledger(path) as ledger:
        evaluator = PopulationEvaluator(
            pool, *splits, settings, seed=0, ledger=ledger, supernet=digest(supernet)
        )
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
