"""The maps over shards: a generation is two map-reduces, a freeze is one map.

What workers return is merged in shard order, so that results do not depend on the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.data.shard import Shard
from raynas.distributed.pool import Pool
from raynas.distributed.units import UnitRunner
from raynas.distributed.views import Split, View
from raynas.evaluation import batchnorm
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.importance import Selection
from raynas.evaluation.memory import warn_of_halving
from raynas.evaluation.protocol import frozen
from raynas.evaluation.scores import ShardScores, join_parts
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.statistics import NodeVectors, ShardStatistics
from raynas.space import Architecture
from raynas.supernets.equivalence import canonical, distinct


class Maps:
    """Runs evaluator methods over the shards of a view, and merges what comes back.

    Args:
        pool: the workers.
        settings: the evaluation protocol.
    """

    def __init__(self, pool: Pool, settings: Evaluation) -> None:
        self._pool = pool
        self._settings = settings
        self._units = UnitRunner(pool, sharing=settings.prefix_sharing)
        self.block_forwards = 0
        self.halvings = 0

    def canonical(self, prefix: Architecture) -> Architecture:
        """The architecture or prefix that is evaluated in place of one that computes the same."""
        sharing = self._settings.prefix_sharing
        return canonical(self._pool.equivalents, prefix) if sharing else prefix

    def outcomes(self, view: View, architectures: Sequence[Architecture]) -> list[ShardScores]:
        """The outcome of every validation shard, candidates in the order given."""
        if not self._settings.prefix_sharing:
            return self._outcomes(view, architectures)
        wanted, places = distinct(self._pool.equivalents, architectures)
        return [outcome.take(places) for outcome in self._outcomes(view, wanted)]

    def calibrate(self, view: View, architectures: Sequence[Architecture]) -> Statistics | str:
        """Merged statistics of every node that the architectures reach, or `"inherited"`.

        Args:
            view: whose calibration shards to use.
            architectures: canonical ones, of full length, all starting with the prefix.
        """
        if self._settings.batch_norm == "inherit":
            return "inherited"
        split, depth = view.calibration, len(view.prefix)
        _, grid = self._units.run(
            "calibrate", architectures, split.shards, split.rows, depth, view.exact
        )
        self._notice([result for results in grid for result in results])
        parts = [batchnorm.merge([result.statistics for result in results]) for results in grid]
        return NodeVectors.unite(parts)

    def advance(self, view: View, prefix: Architecture, selection: Selection | None) -> View:
        """The view behind a longer prefix, of the samples that a selection keeps, or of all."""
        shared = self.canonical(prefix)
        calibration, statistics = self._advance_calibration(view, shared)
        validation = self._advance_validation(view, shared, statistics, selection)
        dropped = view.dropped if selection is None else selection.dropped
        freezes = (*view.freezes, frozen(view.freezes, shared, selection))
        return View(prefix, calibration, validation, view.exact, freezes, dropped)

    def score_images(
        self, architecture: Architecture, shards: Sequence[Shard], statistics: Any
    ) -> list[ShardScores]:
        """The outcome of one canonical architecture on depth-0 shards, read a few at a time."""
        placed = self._pool.put(statistics)
        window = 4 * max(1, self._pool.workers)
        outcomes: list[ShardScores] = []
        for start in range(0, len(shards), window):
            batch = [shards[i] for i in range(start, min(start + window, len(shards)))]
            calls = [(self._pool.put(shard), [architecture], placed, True) for shard in batch]
            outcomes += self._pool.run("score", calls)
        self._notice(outcomes)
        return outcomes

    def _outcomes(self, view: View, architectures: Sequence[Architecture]) -> list[ShardScores]:
        """The outcome of every validation shard, each architecture evaluated for itself."""
        statistics = self._pool.put(self.calibrate(view, architectures))
        split, depth = view.validation, len(view.prefix)
        planned, grid = self._units.run(
            "score", architectures, split.shards, split.rows, depth, statistics, view.exact
        )
        self._notice([result for results in grid for result in results])
        return [join_parts(planned.parts, results) for results in zip(*grid, strict=True)]

    def _advance_calibration(
        self, view: View, prefix: Architecture
    ) -> tuple[Split, Statistics | str]:
        if self._settings.batch_norm == "inherit":
            return view.calibration, "inherited"
        split = view.calibration
        calls = [(shard, prefix, "batch", None, None, view.exact) for shard in split.shards]
        advanced = self._pool.run("advance", calls, keep=True)
        self._notice([result for _, result in advanced])
        statistics = batchnorm.merge([result.statistics for _, result in advanced])
        return Split(tuple(shard for shard, _ in advanced), split.rows, split.weights), statistics

    def _advance_validation(
        self, view: View, prefix: Architecture, statistics: Any, selection: Selection | None
    ) -> Split:
        split = view.validation
        kept, weights = np.arange(sum(split.rows)), split.weights
        if selection is not None:
            kept, weights = selection.rows, selection.weights
        placed = self._pool.put(statistics)
        calls, rows, start = [], [], 0
        for shard, count in zip(split.shards, split.rows, strict=True):
            inside = (kept >= start) & (kept < start + count)
            if inside.any():
                chosen = (kept[inside] - start, weights[inside])
                calls.append((shard, prefix, placed, *chosen, view.exact))
                rows.append(int(inside.sum()))
            start += count
        advanced = self._pool.run("advance", calls, keep=True)
        self._notice([result for _, result in advanced])
        return Split(tuple(shard for shard, _ in advanced), tuple(rows), weights)

    def _notice(self, results: Sequence[ShardScores | ShardStatistics]) -> None:
        """Count what was executed; say once that workers ran out of memory and halved batches."""
        self.block_forwards += sum(result.block_forwards for result in results)
        halvings = sum(result.halvings for result in results)
        if halvings and not self.halvings:
            warn_of_halving()
        self.halvings += halvings
