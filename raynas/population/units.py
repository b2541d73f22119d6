"""The work units of a generation, planned, run, and timed for the next plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raynas.population.block_times import BlockTimes
from raynas.population.planner import Plan, plan
from raynas.space import Architecture
from raynas.workers.calls import Calibrate, ScoreShard
from raynas.workers.pool import Pool


class UnitRunner:
    """Runs calls on (part of the candidates) × (shard).

    Args:
        pool: the workers.
        sharing: whether candidates share prefixes.
    """

    def __init__(self, pool: Pool, *, sharing: bool) -> None:
        self._pool = pool
        self._sharing = sharing
        self._block_times = BlockTimes()

    def run(
        self,
        kind: type[Calibrate] | type[ScoreShard],
        architectures: Sequence[Architecture],
        shards: Sequence[Any],
        rows: Sequence[int],
        depth: int,
        *arguments: Any,
    ) -> tuple[Plan, list[list[Any]]]:
        """Run a call for each unit, and learn from the results what its units cost.

        Args:
            kind: of the calls.
            architectures: all candidates, at least one.
            shards: what stands for each shard in the pool.
            rows: their numbers of images.
            depth: how many blocks they have been through.
            arguments: the other fields of each call.

        Returns:
            How the candidates were cut, and the results as `[part][shard]`.
        """
        costs = self._block_times.costs(kind.name)
        planned = plan(
            architectures, rows, self._pool.workers, costs, depth=depth, sharing=self._sharing
        )
        parts = [[architectures[i] for i in part] for part in planned.parts]
        calls = [kind(shards[shard], parts[part], *arguments) for part, shard in planned.units]
        results: list[Any] = self._pool.run(calls)
        self._block_times.update(kind.name, (result.times for result in results))
        return planned, planned.arrange(results)
