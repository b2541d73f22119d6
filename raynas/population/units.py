"""The work units of a generation, planned, run, and timed for the next plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raynas.population.block_times import BlockTimes
from raynas.population.planner import Plan, plan
from raynas.space import Architecture
from raynas.workers.pool import Pool


class UnitRunner:
    """Runs evaluator methods on (part of the candidates) × (shard).

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
        method: str,
        architectures: Sequence[Architecture],
        shards: Sequence[Any],
        rows: Sequence[int],
        depth: int,
        *arguments: Any,
    ) -> tuple[Plan, list[list[Any]]]:
        """Run a method once per unit, and learn from the results what its units cost.

        Args:
            method: `"calibrate"` or `"score"`.
            architectures: all candidates, at least one.
            shards: what stands for each shard in the pool.
            rows: their numbers of images.
            depth: how many blocks they have been through.
            arguments: further ones of the method.

        Returns:
            How the candidates were cut, and the results as `[part][shard]`.
        """
        costs = self._block_times.costs(method)
        planned = plan(
            architectures, rows, self._pool.workers, costs, depth=depth, sharing=self._sharing
        )
        parts = [[architectures[i] for i in part] for part in planned.parts]
        calls = [(shards[shard], parts[part], *arguments) for part, shard in planned.units]
        results = self._pool.run(method, calls)
        self._block_times.update(method, (result.times for result in results))
        return planned, planned.arrange(results)
