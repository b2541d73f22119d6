"""The shards that candidates are evaluated on, and the scores that are known already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

from raynas.errors import require
from raynas.evaluation.scores import Outcomes, merge_scores
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.population.frozen_shards import FrozenShards
from raynas.shards.inspection import InspectedShards
from raynas.shards.shard import Shard, ShardDigest
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class Splits:
    """The depth-0 shards that candidates are evaluated on.

    Args:
        calibration: each is read once, unless nothing is recalibrated.
        validation: each is read once.
        test: read for the winner only, a few at a time.
        inspect: called with each shard as it is read.
    """

    calibration: Sequence[Shard]
    validation: Sequence[Shard]
    test: Sequence[Shard] = ()
    inspect: Callable[[Shard], None] = lambda shard: None

    def adding_to(self, total: ShardDigest) -> Callable[[Shard], None]:
        """A function that looks at a shard as it is read, and adds it to a digest."""

        def read(shard: Shard) -> None:
            self.inspect(shard)
            total.update(shard)

        return read

    def tested(self, total: ShardDigest) -> InspectedShards:
        """The test split, whose shards are looked at and added to a digest as they are read."""
        return InspectedShards(self.test, self.adding_to(total))


@final
@dataclass(frozen=True)
class Known:
    """Scores that are known already, and the supernet and task that they are of.

    Args:
        ledger: where scores are looked up and added; it stays open. One in memory if omitted.
        supernet: the digest of the supernet; a ledger needs it.
        task: everything else that scores depend on, as a JSON object.
    """

    ledger: Ledger | None = None
    supernet: str = ""
    task: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.ledger is None or self.supernet != "",
            "supernet",
            "the digest of the supernet, beside a ledger",
            repr(self.supernet),
            "Give raynas.supernets.digest(supernet).",
        )


def entries_of(
    shards: FrozenShards, architectures: Sequence[Architecture], outcomes: Outcomes
) -> list[Entry]:
    """The ledger's entries of candidates, marked by which samples they got right.

    Args:
        shards: that they were evaluated on.
        architectures: the candidates.
        outcomes: of them, in their order.
    """
    scores = merge_scores(architectures, outcomes, shards.validation.weights, shards.dropped)
    marks = [each for each in outcomes.values.values() if each.dtype == bool]
    exact = not (shards.halved or outcomes.halvings)
    return [
        Entry(score, digest_of_outcomes(*(mark[index] for mark in marks)), exact)
        for index, score in enumerate(scores)
    ]
