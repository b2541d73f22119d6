"""Scores of candidates: what one shard says, and what all shards say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from raynas.evaluation.timing import CallTimes
from raynas.space import Architecture


@dataclass(frozen=True)
class ShardScores:
    """What one validation shard says about k candidates.

    Args:
        correct: `bool[k, n]` whether the label has the largest logit.
        correct_top5: `bool[k, n]` whether it is among the five largest.
        losses: `float32[k, n]` cross-entropy.
        finite: `bool[k]` whether all logits are finite.
        block_forwards: blocks executed, times samples.
        halvings: how often a batch that did not fit in memory was halved.
        times: how long it took.
    """

    correct: np.ndarray
    correct_top5: np.ndarray
    losses: np.ndarray
    finite: np.ndarray
    block_forwards: int
    halvings: int = 0
    times: CallTimes = field(default_factory=CallTimes, compare=False)

    def on(self, samples: np.ndarray) -> ShardScores:
        """The outcomes of all candidates on some of the samples."""
        return replace(
            self,
            correct=self.correct[:, samples],
            correct_top5=self.correct_top5[:, samples],
            losses=self.losses[:, samples],
        )

    def take(self, members: Sequence[int] | np.ndarray) -> ShardScores:
        """The outcomes of some candidates, each as often as it is named."""
        rows = np.asarray(members, dtype=np.int64)
        return replace(
            self,
            correct=self.correct[rows],
            correct_top5=self.correct_top5[rows],
            losses=self.losses[rows],
            finite=self.finite[rows],
        )


@dataclass(frozen=True)
class Dropped:
    """What the samples that a selection dropped add to the sums over all: the same constants for
    every candidate.

    Args:
        samples: how many they are; 0 where only the kept ones are averaged over.
        correct: how many of them a candidate is expected to classify correctly.
        correct_top5: likewise, within the five largest logits.
        loss: the expected sum of their cross-entropies.
    """

    samples: int = 0
    correct: float = 0.0
    correct_top5: float = 0.0
    loss: float = 0.0

    def __add__(self, more: Dropped) -> Dropped:
        """What the samples of two selections add, the second one of what the first has kept."""
        return Dropped(
            self.samples + more.samples,
            self.correct + more.correct,
            self.correct_top5 + more.correct_top5,
            self.loss + more.loss,
        )


NOTHING = Dropped()
"""Where every sample is kept, or the dropped ones are left out of the means."""


@dataclass(frozen=True)
class CandidateScore:
    """The score of one candidate under one protocol.

    Args:
        architecture: the candidate.
        correct: how many of the kept samples it classifies correctly.
        samples: how many samples were kept.
        top1: the estimated share of correct samples, in [0, 1]; `correct / samples` where all
            weights are 1 and dropped samples add nothing.
        top5: likewise of samples whose label is among the five largest logits.
        loss: the estimated mean cross-entropy; infinite if the logits were not finite.
        finite: whether all its logits were finite.
    """

    architecture: Architecture
    correct: int
    samples: int
    top1: float
    top5: float
    loss: float
    finite: bool


def join_parts(parts: Sequence[np.ndarray], results: Sequence[ShardScores]) -> ShardScores:
    """The outcomes of one shard for all candidates, from those of each part of them."""
    order: np.ndarray = np.argsort(np.concatenate(list(parts)), kind="stable")

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(result, name) for result in results])[order]

    return ShardScores(
        joined("correct"),
        joined("correct_top5"),
        joined("losses"),
        joined("finite"),
        sum(result.block_forwards for result in results),
        sum(result.halvings for result in results),
    )


def join_shards(outcomes: Sequence[ShardScores]) -> ShardScores:
    """The outcomes of all shards as those of one, in sample order."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(outcome, name) for outcome in outcomes], axis=1)

    return ShardScores(
        joined("correct"),
        joined("correct_top5"),
        joined("losses"),
        np.logical_and.reduce([outcome.finite for outcome in outcomes]),
        sum(outcome.block_forwards for outcome in outcomes),
        sum(outcome.halvings for outcome in outcomes),
    )


def merge_scores(
    architectures: Sequence[Architecture],
    whole: ShardScores,
    weights: np.ndarray,
    dropped: Dropped = NOTHING,
) -> list[CandidateScore]:
    """Scores from the outcomes of all samples: sums in their order, integers where they can be.

    Args:
        architectures: the k candidates.
        whole: the outcomes of all shards, as `join_shards` joins them.
        weights: `[n]` of the samples that the shards hold.
        dropped: what the samples that they do not hold add.
    """
    losses = whole.losses.astype(np.float64)
    total = float(weights.sum()) + dropped.samples

    def mean(values: np.ndarray, constant: float) -> float:
        return float(((weights * values).sum() + constant) / total)

    return [
        CandidateScore(
            architecture=tuple(architecture),
            correct=int(whole.correct[index].sum()),
            samples=len(weights),
            top1=mean(whole.correct[index], dropped.correct),
            top5=mean(whole.correct_top5[index], dropped.correct_top5),
            loss=mean(losses[index], dropped.loss) if whole.finite[index] else math.inf,
            finite=bool(whole.finite[index]),
        )
        for index, architecture in enumerate(architectures)
    ]
