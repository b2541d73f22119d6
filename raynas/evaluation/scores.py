"""Outcomes of candidates on samples, and the scores that they add up to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from raynas.score import Score, finite_or
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class Outcomes:
    """Outcomes of k candidates on n samples.

    Args:
        values: for each objective of the task, the one to maximise first, `[k, n]` bool or float32.
        losses: `float32[k, n]`.
        finite: `bool[k]` whether all outputs are finite.
        block_forwards: blocks executed, times samples.
        halvings: how often a batch that did not fit in memory was halved.
    """

    values: Mapping[str, np.ndarray]
    losses: np.ndarray
    finite: np.ndarray
    block_forwards: int = 0
    halvings: int = 0

    @property
    def first(self) -> np.ndarray:
        """The values of the objective that is maximised, `[k, n]`."""
        return next(iter(self.values.values()))

    def on(self, samples: np.ndarray) -> Outcomes:
        """The outcomes of all candidates on some of the samples."""
        return self._each(lambda values: values[:, samples], self.finite)

    def of_candidates(self, members: Sequence[int] | np.ndarray) -> Outcomes:
        """The outcomes of some candidates, each as often as it is named."""
        rows = np.asarray(members, dtype=np.int64)
        return self._each(lambda values: values[rows], self.finite[rows])

    def _each(self, change: Callable[[np.ndarray], np.ndarray], finite: np.ndarray) -> Outcomes:
        values = {name: change(each) for name, each in self.values.items()}
        return replace(self, values=values, losses=change(self.losses), finite=finite)


@final
@dataclass(frozen=True)
class Dropped:
    """Sums over the samples that a selection dropped: the same constants for every candidate.

    Args:
        samples: their number; 0 where only the kept ones are averaged over.
        values: for each objective, the sum that a candidate is expected to reach on them.
        loss: the expected sum of their losses.
    """

    samples: int = 0
    values: Mapping[str, float] = field(default_factory=dict, hash=False)
    loss: float = 0.0

    def __add__(self, more: Dropped) -> Dropped:
        """The sums of two selections, the second one of what the first has kept."""
        names = dict.fromkeys((*self.values, *more.values))
        values = {name: self.values.get(name, 0.0) + more.values.get(name, 0.0) for name in names}
        return Dropped(self.samples + more.samples, values, self.loss + more.loss)


NOTHING = Dropped()
"""Every sample is kept, or the dropped ones are left out of the means."""


def join_candidates(parts: Sequence[np.ndarray], results: Sequence[Outcomes]) -> Outcomes:
    """Join the outcomes of one shard for all candidates from those of each part of them."""
    order: np.ndarray = np.argsort(np.concatenate(list(parts)), kind="stable")
    return _joined(
        results,
        lambda arrays: np.concatenate(arrays)[order],
        np.concatenate([result.finite for result in results])[order],
    )


def join_samples(results: Sequence[Outcomes]) -> Outcomes:
    """Join the outcomes of all shards as those of one, in sample order."""
    return _joined(
        results,
        lambda arrays: np.concatenate(arrays, axis=1),
        np.logical_and.reduce([result.finite for result in results]),
    )


def _joined(
    results: Sequence[Outcomes],
    join: Callable[[list[np.ndarray]], np.ndarray],
    finite: np.ndarray,
) -> Outcomes:
    names = list(results[0].values)
    return Outcomes(
        {name: join([result.values[name] for result in results]) for name in names},
        join([result.losses for result in results]),
        finite,
        sum(result.block_forwards for result in results),
        sum(result.halvings for result in results),
    )


def merge_scores(
    architectures: Sequence[Architecture],
    whole: Outcomes,
    weights: np.ndarray,
    dropped: Dropped = NOTHING,
) -> list[Score]:
    """Add up the outcomes of all samples: sums in their order, integers where they can be.

    Args:
        architectures: the k candidates.
        whole: the outcomes of all shards, as `join_samples` joins them.
        weights: `[n]` of the samples that the shards hold.
        dropped: sums over the samples that they do not hold.
    """
    losses = whole.losses.astype(np.float64)
    total = float(weights.sum()) + dropped.samples

    def mean(values: np.ndarray, constant: float) -> float:
        return float(((weights * values).sum() + constant) / total)

    def score(index: int) -> Score:
        objectives = {
            name: finite_or(mean(values[index], dropped.values.get(name, 0.0)), math.nan)
            for name, values in whole.values.items()
        }
        finite = bool(whole.finite[index])
        first = whole.first[index]
        return Score(
            architecture=tuple(architectures[index]),
            objectives=objectives,
            loss=mean(losses[index], dropped.loss) if finite else math.inf,
            finite=finite,
            samples=len(weights),
            correct=int(first.sum()) if first.dtype == bool else None,
        )

    return [score(index) for index in range(len(architectures))]
