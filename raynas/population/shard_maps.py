"""The maps over shards: a generation is two map-reduces, a freeze is one map.

Results of workers are merged in shard order, so that they do not depend on the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.counting import require_same_layers
from raynas.evaluation.batch_norm.statistics import FixedStatistics, Statistics
from raynas.evaluation.batch_norm.vectors import NodeVectors, ShardStatistics
from raynas.evaluation.device.memory import warn_of_halving
from raynas.evaluation.scores import Outcomes, join_candidates, join_samples
from raynas.evaluation.selection import Selection
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.trie import nodes_of
from raynas.ledger.score_key import frozen
from raynas.population.frozen_shards import FrozenShards, Split
from raynas.population.planner import Plan, plan
from raynas.shards.inspection import require_unweighted
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.workers.call_progress import CallObserver, run_calls
from raynas.workers.calls import Advance, Calibrate, Call, GatherShards, ScoreShard
from raynas.workers.pool import Pool


@final
class ShardMaps:
    """Operations on all shards behind one prefix, with the results merged in shard order.

    Args:
        pool: the workers.
        settings: the evaluation protocol.

    Attributes:
        block_forwards: blocks executed so far, times samples.
        block_forwards_alone: as many as that would have been, had each candidate been evaluated
            by itself from the inputs on.
        halvings: batches that were halved for lack of memory.
        observer: is told of the calls, if there is one.
    """

    def __init__(self, pool: Pool, settings: Evaluation) -> None:
        self._pool = pool
        self._settings = settings
        self._full_statistics: Statistics = {}
        self.block_forwards = 0
        self.block_forwards_alone = 0
        self.halvings = 0
        self.observer: CallObserver | None = None

    def outcomes(self, shards: FrozenShards, architectures: Sequence[Architecture]) -> Outcomes:
        """The outcomes of all validation samples, candidates in the order given."""
        wanted = list(dict.fromkeys(architectures))
        statistics = self._pool.put(self.calibrate(shards, wanted))
        planned, grid = self._on_grid(
            shards,
            shards.validation,
            wanted,
            lambda shard, part: ScoreShard(shard, part, statistics, shards.arithmetic),
        )
        by_shard = zip(*grid, strict=True)
        joined = join_samples([join_candidates(planned.parts, results) for results in by_shard])
        places = {architecture: place for place, architecture in enumerate(wanted)}
        return joined.of_candidates([places[architecture] for architecture in architectures])

    def calibrate(
        self, shards: FrozenShards, architectures: Sequence[Architecture]
    ) -> FixedStatistics:
        """Merged statistics of every node that the architectures reach, or `"inherited"`.

        Args:
            shards: their calibration split is used.
            architectures: of full length, distinct, all starting with the prefix.
        """
        if not shards.recalibrates:
            return "inherited"
        _, grid = self._on_grid(
            shards,
            shards.calibration,
            architectures,
            lambda shard, part: Calibrate(shard, part, shards.arithmetic),
        )
        parts = [merge_shards(results, len(architectures[0])) for results in grid]
        merged = NodeVectors.unite(parts)
        if shards.full:
            self._full_statistics = merged
        return merged

    def statistics_of(self, shards: FrozenShards, architecture: Architecture) -> FixedStatistics:
        """As `calibrate` for one architecture behind full shards.

        A node's statistics do not depend on the population, so those of the architectures that
        were calibrated last are given again: the winner's, after the finalists'.
        """
        nodes = nodes_of(architecture)
        if shards.recalibrates and all(node in self._full_statistics for node in nodes):
            return NodeVectors.join({node: self._full_statistics[node] for node in nodes})
        return self.calibrate(shards, [architecture])

    def select(self, shards: FrozenShards, selection: Selection) -> FrozenShards:
        """The samples of depth-0 shards that a selection keeps.

        Raises:
            InputError: samples with weights of their own.
        """
        require_unweighted(shards.validation.weights)
        return replace(
            shards,
            kept=selection.rows if shards.kept is None else shards.kept[selection.rows],
            validation=self._gather(shards.validation, selection),
            dropped=shards.dropped + selection.dropped,
            freezes=(*shards.freezes, frozen(shards.freezes, (), selection)),
        )

    def advance(self, shards: FrozenShards, prefix: Architecture) -> FrozenShards:
        """The shards behind a longer prefix, which starts with theirs."""
        freezes = (*shards.freezes, frozen(shards.freezes, prefix, None))
        calibration = shards.calibration
        statistics: FixedStatistics = "inherited"
        if shards.recalibrates:
            calibration, results = self._advance(shards, shards.calibration, prefix, "batch")
            statistics = merge_shards(results, len(prefix))
        validation, results = self._advance(
            shards, shards.validation, prefix, self._pool.put(statistics)
        )
        return replace(
            shards,
            prefix=prefix,
            calibration=calibration,
            validation=validation,
            freezes=freezes,
            halved=shards.halved or any(result.halvings for result in results),
        )

    def score_inputs(
        self, full: FrozenShards, architecture: Architecture, inputs: Sequence[Shard]
    ) -> tuple[Outcomes, np.ndarray]:
        """The outcome of one architecture on depth-0 shards, read a few at a time.

        Args:
            full: the full shards, whose statistics and arithmetic count.
            architecture: of full length.
            inputs: held-out samples.

        Returns:
            The outcomes of all samples, and their weights.
        """
        statistics = self._pool.put(self.statistics_of(full, architecture))
        window = 4 * max(1, self._pool.workers)
        outcomes: list[Outcomes] = []
        weights: list[np.ndarray] = []
        for start in range(0, len(inputs), window):
            batch = [inputs[i] for i in range(start, min(start + window, len(inputs)))]
            weights += [shard.weights for shard in batch]
            outcomes += self._run(
                [
                    ScoreShard(self._pool.put(shard), [architecture], statistics, full.arithmetic)
                    for shard in batch
                ]
            )
        self._count(outcomes)
        return join_samples(outcomes), np.concatenate(weights)

    def _on_grid(
        self,
        shards: FrozenShards,
        split: Split,
        architectures: Sequence[Architecture],
        call: Callable[[Any, list[Architecture]], Call[Any]],
    ) -> tuple[Plan, list[list[Any]]]:
        """Run a call once for each (part of the candidates) × (shard).

        Returns:
            How the candidates were cut, and the results as `[part][shard]`.
        """
        planned = plan(
            architectures,
            split.rows,
            self._pool.workers,
            depth=len(shards.prefix),
            sharing=self._settings.prefix_sharing,
        )
        parts = [[architectures[i] for i in part] for part in planned.parts]
        calls = [call(split.shards[shard], parts[part]) for part, shard in planned.units]
        results = self._run(calls)
        self._count(results)
        self.block_forwards_alone += sum(map(len, architectures)) * sum(split.rows)
        return planned, planned.arrange(results)

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
        gathered = self._run(calls, keep=True)
        counts = tuple(count for _, count in gathered)
        return Split(tuple(shard for shard, _ in gathered), counts, selection.weights)

    def _advance(
        self, shards: FrozenShards, split: Split, prefix: Architecture, statistics: Any
    ) -> tuple[Split, list[ShardStatistics]]:
        """One split behind a longer prefix, and the statistics recorded on the way."""
        calls = [Advance(shard, prefix, statistics, shards.arithmetic) for shard in split.shards]
        advanced = self._run(calls, keep=True)
        results = [result for _, result in advanced]
        self._count(results)
        return replace(split, shards=tuple(shard for shard, _ in advanced)), results

    def _run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run calls of one operation, and tell the observer of them."""
        return run_calls(self._pool, calls, self.observer, keep=keep)

    def _count(self, results: Sequence[Outcomes | ShardStatistics]) -> None:
        """Count what was executed; say once that workers ran out of memory and halved batches."""
        self.block_forwards += sum(result.block_forwards for result in results)
        halvings = sum(result.halvings for result in results)
        if halvings and not self.halvings:
            warn_of_halving()
        self.halvings += halvings


def merge_shards(results: Sequence[ShardStatistics], blocks: int) -> NodeVectors:
    """The statistics of nodes from the results of each shard, in shard order.

    Args:
        results: of the same nodes.
        blocks: how many blocks the chain has, or as many of them as are there.

    Raises:
        InputError: a layer that recorded in some batches only.
    """
    require_same_layers(results, blocks)
    return batch_stats.merge_calls(results)
