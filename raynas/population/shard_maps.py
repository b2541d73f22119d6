"""The maps over shards: a generation is two map-reduces, a freeze is one map.

What workers return is merged in shard order, so that results do not depend on the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.batch_norm.vectors import NodeVectors, ShardStatistics
from raynas.evaluation.device.memory import warn_of_halving
from raynas.evaluation.device.numerics import Arithmetic
from raynas.evaluation.scores import ShardScores, join_parts, join_shards
from raynas.evaluation.selection import Selection
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.trie import nodes_of
from raynas.ledger.score_key import frozen
from raynas.population.frozen_shards import Split, View
from raynas.population.units import UnitRunner
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets.equivalence import canonical, distinct
from raynas.workers.calls import Advance, Calibrate, GatherShards, ScoreShard
from raynas.workers.pool import Pool


class Maps:
    """Runs calls over the shards of a view, and merges what comes back.

    Args:
        pool: the workers.
        settings: the evaluation protocol.
    """

    def __init__(self, pool: Pool, settings: Evaluation) -> None:
        self._pool = pool
        self._settings = settings
        self._units = UnitRunner(pool, sharing=settings.prefix_sharing)
        self._exact: Statistics = {}
        self.block_forwards = 0
        self.halvings = 0

    def canonical(self, prefix: Architecture) -> Architecture:
        """The architecture or prefix that is evaluated in place of one that computes the same."""
        sharing = self._settings.prefix_sharing
        return canonical(self._pool.equivalents, prefix) if sharing else prefix

    def outcomes(self, view: View, architectures: Sequence[Architecture]) -> ShardScores:
        """The outcomes of all validation samples, candidates in the order given."""
        if not self._settings.prefix_sharing:
            return self._outcomes(view, architectures)
        wanted, places = distinct(self._pool.equivalents, architectures)
        return self._outcomes(view, wanted).take(places)

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
            Calibrate, architectures, split.shards, split.rows, depth, self._arithmetic(view)
        )
        self._notice([result for results in grid for result in results])
        parts = [batch_stats.merge([result.statistics for result in results]) for results in grid]
        merged = NodeVectors.unite(parts)
        if view.exact:
            self._exact = merged
        return merged

    def statistics_of(self, view: View, architecture: Architecture) -> Statistics | str:
        """As `calibrate` for one canonical architecture behind an exact view.

        A node's statistics do not depend on the population, so those of the architectures that
        were calibrated last are given again: the winner's, after the finalists'.
        """
        nodes = nodes_of(architecture)
        if all(node in self._exact for node in nodes):
            return NodeVectors.join({node: self._exact[node] for node in nodes})
        return self.calibrate(view, [architecture])

    def select(self, view: View, selection: Selection) -> View:
        """The samples of a view of images that a selection keeps."""
        return replace(
            view,
            kept=selection.rows if view.kept is None else view.kept[selection.rows],
            validation=self._gather(view.validation, selection),
            dropped=view.dropped + selection.dropped,
            freezes=(*view.freezes, frozen(view.freezes, (), selection)),
        )

    def advance(self, view: View, prefix: Architecture) -> View:
        """The view behind a longer prefix, which starts with the view's."""
        shared = self.canonical(prefix)
        freezes = (*view.freezes, frozen(view.freezes, shared, None))
        calibration, statistics = self._advance_calibration(view, shared)
        validation, _ = self._advance(view, view.validation, shared, self._pool.put(statistics))
        return replace(
            view, prefix=prefix, calibration=calibration, validation=validation, freezes=freezes
        )

    def score_images(
        self, architecture: Architecture, shards: Sequence[Shard], statistics: Any
    ) -> tuple[ShardScores, np.ndarray]:
        """The outcome of one canonical architecture on depth-0 shards, read a few at a time.

        Returns:
            The outcomes of all samples, and their weights.
        """
        placed = self._pool.put(statistics)
        window = 4 * max(1, self._pool.workers)
        outcomes: list[ShardScores] = []
        weights: list[np.ndarray] = []
        for start in range(0, len(shards), window):
            batch = [shards[i] for i in range(start, min(start + window, len(shards)))]
            weights += [shard.weights for shard in batch]
            calls = [
                ScoreShard(self._pool.put(shard), [architecture], placed, Arithmetic())
                for shard in batch
            ]
            outcomes += self._pool.run(calls)
        self._notice(outcomes)
        return join_shards(outcomes), np.concatenate(weights)

    def _arithmetic(self, view: View) -> Arithmetic:
        """How the calls of a view are computed."""
        if view.exact:
            return Arithmetic()
        return Arithmetic(self._settings.precision, self._settings.fold_batch_norm)

    def _outcomes(self, view: View, architectures: Sequence[Architecture]) -> ShardScores:
        """The outcomes of all validation samples, each architecture evaluated for itself."""
        statistics = self._pool.put(self.calibrate(view, architectures))
        split, depth = view.validation, len(view.prefix)
        arithmetic = self._arithmetic(view)
        planned, grid = self._units.run(
            ScoreShard, architectures, split.shards, split.rows, depth, statistics, arithmetic
        )
        self._notice([result for results in grid for result in results])
        shards = zip(*grid, strict=True)
        return join_shards([join_parts(planned.parts, results) for results in shards])

    def _gather(self, split: Split, selection: Selection) -> Split:
        """The selected samples in shards as large as those that they come from.

        Small batches are slow, and few of each shard may be left.
        """
        stops = np.cumsum(split.rows)
        starts = stops - split.rows
        pieces = -(-len(selection.rows) // max(split.rows))
        calls = []
        for places in np.array_split(np.arange(len(selection.rows)), pieces):
            kept = selection.rows[places]
            met = np.flatnonzero((starts <= kept[-1]) & (stops > kept[0]))
            rows = [kept[(kept >= starts[i]) & (kept < stops[i])] - starts[i] for i in met]
            some = [(split.shards[i], each) for i, each in zip(met, rows, strict=True) if len(each)]
            (first, *others), inside = zip(*some, strict=True)
            calls.append(GatherShards(first, inside, selection.weights[places], tuple(others)))
        gathered = self._pool.run(calls, keep=True)
        counts = tuple(count for _, count in gathered)
        return Split(tuple(shard for shard, _ in gathered), counts, selection.weights)

    def _advance_calibration(
        self, view: View, prefix: Architecture
    ) -> tuple[Split, Statistics | str]:
        if self._settings.batch_norm == "inherit":
            return view.calibration, "inherited"
        split, results = self._advance(view, view.calibration, prefix, "batch")
        return split, batch_stats.merge([result.statistics for result in results])

    def _advance(
        self, view: View, split: Split, prefix: Architecture, statistics: Any
    ) -> tuple[Split, list[ShardStatistics]]:
        """A split of a view behind a longer prefix, and what was recorded on the way."""
        arithmetic = self._arithmetic(view)
        calls = [Advance(shard, prefix, statistics, arithmetic) for shard in split.shards]
        advanced = self._pool.run(calls, keep=True)
        results = [result for _, result in advanced]
        self._notice(results)
        return replace(split, shards=tuple(shard for shard, _ in advanced)), results

    def _notice(self, results: Sequence[ShardScores | ShardStatistics]) -> None:
        """Count what was executed; say once that workers ran out of memory and halved batches."""
        self.block_forwards += sum(result.block_forwards for result in results)
        halvings = sum(result.halvings for result in results)
        if halvings and not self.halvings:
            warn_of_halving()
        self.halvings += halvings
