"""Scores of candidates: what one shard says, and what all shards say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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
    """

    correct: np.ndarray
    correct_top5: np.ndarray
    losses: np.ndarray
    finite: np.ndarray
    block_forwards: int
    halvings: int = 0

    def take(self, members: Sequence[int]) -> ShardScores:
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
class CandidateScore:
    """The score of one candidate under one protocol.

    Args:
        architecture: the candidate.
        correct: how many of the samples it classifies correctly.
        samples: how many samples that is of.
        top1: the weighted share of correct samples, in [0, 1]; `correct / samples` where all
            weights are 1.
        top5: the weighted share of samples whose label is among the five largest logits.
        loss: the weighted mean cross-entropy; infinite if the logits were not finite.
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


def merge_scores(
    architectures: Sequence[Architecture], outcomes: Sequence[ShardScores], weights: np.ndarray
) -> list[CandidateScore]:
    """Scores from the outcomes of all shards: sums in sample order, integers where they can be."""
    correct = np.concatenate([outcome.correct for outcome in outcomes], axis=1)
    top5 = np.concatenate([outcome.correct_top5 for outcome in outcomes], axis=1)
    losses = np.concatenate([outcome.losses for outcome in outcomes], axis=1).astype(np.float64)
    finite = np.logical_and.reduce([outcome.finite for outcome in outcomes])
    total = float(weights.sum())
    scores = []
    for index, architecture in enumerate(architectures):
        scores.append(
            CandidateScore(
                architecture=tuple(architecture),
                correct=int(correct[index].sum()),
                samples=len(weights),
                top1=float((weights * correct[index]).sum() / total),
                top5=float((weights * top5[index]).sum() / total),
                loss=float((weights * losses[index]).sum() / total) if finite[index] else math.inf,
                finite=bool(finite[index]),
            )
        )
    return scores
