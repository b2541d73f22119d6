"""`PopulationEvaluator`: a generation as two map-reduces over shards, a freeze as one map.

The driver's side of the evaluation. It holds what stands for the shards in the pool's store and
merges what workers return in shard order, so that results do not depend on the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from raynas.data.shard import Shard, ShardDigest
from raynas.distributed.planner import plan
from raynas.distributed.pool import LostObjectError, Pool
from raynas.errors import require
from raynas.evaluation import batchnorm
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.evaluator import ShardStatistics
from raynas.evaluation.importance import select_samples
from raynas.evaluation.ledger import Ledger
from raynas.evaluation.ledger_rows import Entry
from raynas.evaluation.memory import warn_of_halving
from raynas.evaluation.protocol import Freeze, Protocol, evaluation_of, frozen, in_full
from raynas.evaluation.scores import CandidateScore, ShardScores, join_parts, merge_scores
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.trie import nodes_of
from raynas.space import Architecture, starting_with
from raynas.supernets.equivalence import canonical, distinct

RECOVERIES = 3
"""How often shards that went away with a node are made again for one action."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Split:
    """What stands for the shards of one split, and their weights in sample order."""

    shards: tuple[Any, ...]
    rows: tuple[int, ...]
    weights: np.ndarray


@dataclass(frozen=True)
class _View:
    """Both splits behind one prefix, whether to score in float32 whatever the settings say, and the
    freezes that led there.
    """

    prefix: Architecture
    calibration: _Split
    validation: _Split
    exact: bool
    freezes: tuple[Freeze, ...] = ()


class PopulationEvaluator:
    """Scores populations on shards that live in the pool's store, each candidate at most once.

    Args:
        pool: the workers.
        calibration: depth-0 shards; each is read once.
        validation: depth-0 shards; each is read once.
        settings: the evaluation protocol.
        seed: of the importance sampling.
        observe: is called with each shard as it is read.
        ledger: scores that are known already, and where new ones are added; it stays open. One in
            memory if omitted.
        supernet: the digest of what the pool evaluates; a ledger needs it.

    Raises:
        InputError: a ledger without the digest; recalibration without calibration shards, or with
            a shard of one image.
    """

    def __init__(
        self,
        pool: Pool,
        calibration: Sequence[Shard],
        validation: Sequence[Shard],
        settings: Evaluation,
        seed: int,
        observe: Callable[[Shard], None] = lambda shard: None,
        ledger: Ledger | None = None,
        supernet: str = "",
    ) -> None:
        require(
            ledger is None or supernet != "",
            "supernet",
            "the digest of the supernet, beside a ledger",
            repr(supernet),
            "Give raynas.supernets.digest(supernet).",
        )
        self._pool = pool
        self._ledger = Ledger() if ledger is None else ledger
        self._supernet = supernet
        self._machine: dict[str, str] | None = None
        self._digest = ShardDigest()
        self._settings = settings
        self._seed = seed
        self.block_forwards = 0
        self.halvings = 0
        self.known = 0
        wanted = calibration if settings.batch_norm == "recalibrate" else ()
        everything = self._place(wanted, observe)
        self._full = _View((), everything, self._place(validation, observe), exact=True)
        self._start = replace(
            self._full,
            calibration=first_images(everything, settings.calibration_images),
            exact=False,
        )
        self._view = self._start
        self._freezes: list[tuple[Architecture, Architecture]] = []
        if settings.batch_norm == "recalibrate":
            rows = self._full.calibration.rows
            require(
                len(rows) > 0 and min(rows) > 1,
                "calibration",
                "shards of at least two images each",
                rows,
                "Give more calibration images or larger shards, or use batch_norm='inherit'.",
            )

    @property
    def prefix(self) -> Architecture:
        """The frozen choices that the shards are behind."""
        return self._view.prefix

    @property
    def data_digest(self) -> str:
        """The digest of all shards that were read: calibration, if it is used, and validation."""
        return self._digest.hexdigest()

    @property
    def workers(self) -> int:
        """How many workers evaluate; 0 for the driver's own process."""
        return self._pool.workers

    @property
    def gpus(self) -> int:
        """How many GPUs the workers hold."""
        return self._pool.gpus

    @property
    def samples(self) -> int:
        """How many validation samples a candidate is scored on."""
        return sum(self._view.validation.rows)

    def score(
        self, architectures: Sequence[Architecture], *, reuse: bool = True
    ) -> list[CandidateScore]:
        """Score candidates behind the current prefix, under the current selection of samples.

        Args:
            architectures: of full length, all starting with the prefix.
            reuse: look scores up in the ledger, evaluate only the rest, and add it. Otherwise
                evaluate all and leave the ledger alone, to measure what that takes.

        Returns:
            One score per architecture, in the order given.

        Raises:
            InputError: an architecture that the supernet does not have, or with another prefix, or
                a ledger that cannot be used, or that has another score of one of them.
        """
        return self._recovering(lambda: self._score(self._view, architectures, reuse))

    def score_in_full(
        self, architectures: Sequence[Architecture], *, reuse: bool = True
    ) -> list[CandidateScore]:
        """Score candidates on all validation samples from the images on, nothing quantized.

        Args, returns and raises: as `score`.
        """
        return self._score(self._full, architectures, reuse)

    def statistics(self, architecture: Architecture) -> Statistics:
        """Merged batch-norm statistics of every node of one architecture, from the images on."""
        shared = self._canonical(architecture)
        statistics: Statistics = self._calibrate(self._full, [shared])
        paths = zip(nodes_of(tuple(architecture)), nodes_of(shared), strict=True)
        return {own: statistics[path] for own, path in paths}

    def test(self, architecture: Architecture, shards: Sequence[Shard]) -> CandidateScore:
        """Score one architecture on held-out shards, reading a few of them at a time."""
        shared = self._canonical(architecture)
        placed = self._pool.put(self._calibrate(self._full, [shared]))
        window = 4 * max(1, self._pool.workers)
        outcomes: list[ShardScores] = []
        weights: list[np.ndarray] = []
        for start in range(0, len(shards), window):
            batch = [shards[i] for i in range(start, min(start + window, len(shards)))]
            weights += [shard.weights for shard in batch]
            calls = [(self._pool.put(shard), [shared], placed, True) for shard in batch]
            outcomes += self._pool.run("score", calls)
        self._notice(outcomes)
        return merge_scores([architecture], outcomes, np.concatenate(weights))[0]

    def freeze(self, prefix: Architecture, reference: Architecture) -> None:
        """Advance all shards to a longer prefix; at the first freeze, select samples.

        Args:
            prefix: the frozen choices, starting with the current ones.
            reference: an architecture with that prefix, whose losses give the importance.

        Raises:
            InputError: the prefix does not continue the current one, or the reference not it.
        """
        require(
            tuple(reference[: len(prefix)]) == tuple(prefix),
            "reference",
            f"an architecture with the prefix {list(prefix)}",
            list(reference),
            "Give a candidate that is to be scored behind the prefix.",
        )
        self._recovering(lambda: self._freeze(prefix, reference))
        self._freezes.append((prefix, reference))

    def _recovering(self, action: Callable[[], T]) -> T:
        """Run an action; if shards went away with a node, make them again from the images."""
        lost = LostObjectError()
        for _ in range(1 + RECOVERIES):
            try:
                self._restore()
                return action()
            except LostObjectError as error:
                self._view, lost = self._start, error
        raise lost

    def _restore(self) -> None:
        """Advance the shards as far as they were before some of them went away."""
        if self._view is self._start:
            for prefix, reference in self._freezes:
                self._freeze(prefix, reference)

    def _freeze(self, prefix: Architecture, reference: Architecture) -> None:
        view = self._view
        selection = None
        if not view.prefix and self._settings.sample_rate < 1.0:
            selection = self._select(view, reference)
        shared = self._canonical(prefix)
        calibration, statistics = self._advance_calibration(view, shared)
        validation = self._advance_validation(view, shared, statistics, selection)
        freezes = (*view.freezes, frozen(view.freezes, shared, selection))
        self._view = _View(prefix, calibration, validation, view.exact, freezes)

    def _select(self, view: _View, reference: Architecture) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the validation split to keep, and their weights (PCF-ES, section 3.5)."""
        losses = np.concatenate([o.losses[0] for o in self._outcomes(view, [reference])])
        rng = np.random.default_rng([self._seed, len(view.prefix)])
        return select_samples(losses, self._settings.sample_rate, self._settings.sampling, rng)

    def _advance_calibration(
        self, view: _View, prefix: Architecture
    ) -> tuple[_Split, dict[tuple[int, ...], np.ndarray] | str]:
        if self._settings.batch_norm == "inherit":
            return view.calibration, "inherited"
        split = view.calibration
        calls = [(shard, prefix, "batch", None, None, view.exact) for shard in split.shards]
        advanced = self._pool.run("advance", calls, keep=True)
        self.block_forwards += sum(result.block_forwards for _, result in advanced)
        statistics = batchnorm.merge([result.statistics for _, result in advanced])
        return _Split(tuple(shard for shard, _ in advanced), split.rows, split.weights), statistics

    def _advance_validation(
        self,
        view: _View,
        prefix: Architecture,
        statistics: Any,
        selection: tuple[np.ndarray, np.ndarray] | None,
    ) -> _Split:
        split = view.validation
        kept, weights = selection or (np.arange(sum(split.rows)), split.weights)
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
        self.block_forwards += sum(result.block_forwards for _, result in advanced)
        self._notice([result for _, result in advanced])
        return _Split(tuple(shard for shard, _ in advanced), tuple(rows), weights)

    def _score(
        self, view: _View, architectures: Sequence[Architecture], reuse: bool
    ) -> list[CandidateScore]:
        wanted = [starting_with(view.prefix, each) for each in architectures]
        if not wanted:
            return []
        if not reuse:
            return [entry.score for entry in self._evaluate(view, wanted)]
        shared = [self._canonical(each) for each in wanted]
        entries, known = self._ledger.complete(
            self._protocol(view), shared, lambda missing: self._evaluate(view, missing)
        )
        self.known += known
        named = zip(wanted, entries, strict=True)
        return [replace(entry.score, architecture=each) for each, entry in named]

    def _evaluate(self, view: _View, architectures: Sequence[Architecture]) -> list[Entry]:
        outcomes = self._outcomes(view, architectures)
        scores = merge_scores(architectures, outcomes, view.validation.weights)
        bits = np.concatenate([outcome.correct for outcome in outcomes], axis=1)
        return [Entry(score, correct) for score, correct in zip(scores, bits, strict=True)]

    def _protocol(self, view: _View) -> Protocol:
        """What scores behind a view depend on, beside the architecture."""
        if self._machine is None:
            self._pool.wait()
            self._machine = self._pool.machine
        calibration = sum(view.calibration.rows)
        settings = in_full(self._settings) if view.exact else self._settings
        evaluation = evaluation_of(settings, calibration, self._machine, view.freezes)
        return Protocol(self._supernet, self.data_digest, evaluation, sum(view.validation.rows))

    def _canonical(self, prefix: Architecture) -> Architecture:
        """The architecture or prefix that is evaluated in place of one that computes the same."""
        sharing = self._settings.prefix_sharing
        return canonical(self._pool.equivalents, prefix) if sharing else prefix

    def _outcomes(self, view: _View, architectures: Sequence[Architecture]) -> list[ShardScores]:
        """The outcome of every validation shard, candidates in the order given."""
        if not self._settings.prefix_sharing:
            return self._distinct_outcomes(view, architectures)
        wanted, places = distinct(self._pool.equivalents, architectures)
        return [outcome.take(places) for outcome in self._distinct_outcomes(view, wanted)]

    def _distinct_outcomes(
        self, view: _View, architectures: Sequence[Architecture]
    ) -> list[ShardScores]:
        """The outcome of every validation shard, each architecture evaluated for itself."""
        statistics = self._pool.put(self._calibrate(view, architectures))
        parts = plan(architectures, len(view.validation.shards), self._pool.workers)
        calls = [
            (shard, [architectures[i] for i in part], statistics, view.exact)
            for shard in view.validation.shards
            for part in parts
        ]
        results = self._pool.run("score", calls)
        self.block_forwards += sum(result.block_forwards for result in results)
        self._notice(results)
        return [
            join_parts(parts, results[start : start + len(parts)])
            for start in range(0, len(results), len(parts))
        ]

    def _calibrate(self, view: _View, architectures: Sequence[Architecture]) -> Any:
        """Merged statistics of every node that the architectures reach, or `"inherited"`."""
        if self._settings.batch_norm == "inherit":
            return "inherited"
        shards = view.calibration.shards
        parts = plan(architectures, len(shards), self._pool.workers)
        calls = [
            (shard, [architectures[i] for i in part], view.exact)
            for shard in shards
            for part in parts
        ]
        results = self._pool.run("calibrate", calls)
        self.block_forwards += sum(result.block_forwards for result in results)
        per_shard = []
        for start in range(0, len(results), len(parts)):
            joined: dict[tuple[int, ...], np.ndarray] = {}
            for result in results[start : start + len(parts)]:
                joined.update(result.statistics)
            per_shard.append(joined)
        return batchnorm.merge(per_shard)

    def _notice(self, results: Sequence[ShardScores | ShardStatistics]) -> None:
        """Say once, where the user sees it, that workers ran out of memory and halved batches."""
        halvings = sum(result.halvings for result in results)
        if halvings and not self.halvings:
            warn_of_halving()
        self.halvings += halvings

    def _place(self, shards: Sequence[Shard], observe: Callable[[Shard], None]) -> _Split:
        placed, rows, weights = [], [], []
        for index in range(len(shards)):
            shard = shards[index]
            observe(shard)
            self._digest.update(shard)
            placed.append(self._pool.put(shard))
            rows.append(shard.rows)
            weights.append(np.array(shard.weights))
        return _Split(tuple(placed), tuple(rows), np.concatenate(weights or [np.empty(0)]))


def first_images(split: _Split, images: int | None) -> _Split:
    """The first shards of a split, as many as it takes to hold so many images; all for `None`."""
    if images is None:
        return split
    before = np.cumsum((0, *split.rows[:-1]))
    count = int((before < images).sum())
    return _Split(
        split.shards[:count], split.rows[:count], split.weights[: sum(split.rows[:count])]
    )
