"""Selecting the validation samples that shards behind a frozen prefix keep (PCF-ES, section 3.5).

Not all samples tell candidates apart. All candidates see the same ones, so that their scores
compare. Equation 2 draws them in proportion to a loss, where sums of losses vary least from draw to
draw; one subnet behind the frozen prefix stands for those that are to come.

A selection is made at the first freeze, and under `unfrozen_sample_rate` already from the first
generation, of the samples that are there then; each mode is one function here, pure but for the
generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.evaluation.scores import NOTHING, Dropped, Outcomes
from raynas.evaluation.settings import Sampling

FLOOR = 1e-6
"""Every sample keeps this share of the mean probability, since q > 0 wherever p > 0."""

SOFTNESS = 0.1
"""The share that a voter's probability for the label has in its chance of being right."""


@final
@dataclass(frozen=True)
class Selection:
    """The samples that are kept, and how scores on them estimate scores on all.

    Args:
        rows: `[m]` kept rows of the validation split, ascending.
        weights: `[m]` float64, of the kept samples.
        dropped: the sums that all other samples add to the scores.
    """

    rows: np.ndarray
    weights: np.ndarray
    dropped: Dropped = NOTHING


def select_samples(
    scored: Sequence[Outcomes], sampling: Sampling, rate: float, rng: np.random.Generator
) -> Selection:
    """Select by the protocol's mode.

    Args:
        scored: outcomes of candidates on all `n` samples: under `"disagreement"` the groups,
            else one subnet with the frozen prefix.
        sampling: the mode.
        rate: the share of the `n` samples to keep.
        rng: for what the mode draws.
    """
    if sampling == "disagreement":
        return select_disagreement(scored, rate)
    losses = scored[0].losses[0]
    if sampling == "random":
        return select_random(len(losses), rate, rng)
    if sampling == "weighted":
        return select_weighted(losses, rate, rng)
    return select_top(losses, rate)


def kept_samples(samples: int, rate: float) -> int:
    """The number of samples to keep: at least the share `rate`, and at least one."""
    return max(1, math.ceil(round(rate * samples, 6)))


def select_top(losses: np.ndarray, rate: float) -> Selection:
    """Keep the samples on which one frozen-prefix subnet has the largest losses.

    Args:
        losses: `[n]` loss of each sample; not finite counts as the largest.
        rate: the share of samples to keep.
    """
    known = known_losses(losses)
    rows = np.lexsort((np.arange(len(known)), -known))[: kept_samples(len(known), rate)]
    return Selection(np.sort(rows), np.ones(len(rows)))


def select_weighted(losses: np.ndarray, rate: float, rng: np.random.Generator) -> Selection:
    """Draw samples in proportion to the loss of one frozen-prefix subnet (equation 2: q ∝ p·loss).

    Every sample is kept at most once: sample i enters with probability πᵢ = min(1, m·qᵢ) by
    systematic sampling, and 1/πᵢ is the p/q of equation 1, so that weighted sums over the kept
    samples estimate the sums over all samples without bias.

    Args:
        losses: `[n]` loss of each sample; not finite counts as the largest.
        rate: the share of samples to keep.
        rng: draws the starting point of the systematic sample.
    """
    known = known_losses(losses)
    inclusion = inclusion_probabilities(known, kept_samples(len(known), rate))
    ticks = np.floor(np.cumsum(inclusion) + rng.random())
    rows = np.flatnonzero(np.diff(ticks, prepend=0.0) >= 1.0)
    return Selection(rows, 1.0 / inclusion[rows])


def select_random(samples: int, rate: float, rng: np.random.Generator) -> Selection:
    """Draw samples uniformly, without replacement: the baseline.

    Args:
        samples: how many there are.
        rate: the share of samples to keep.
        rng: draws them.
    """
    rows = rng.choice(samples, kept_samples(samples, rate), replace=False)
    return Selection(np.sort(rows), np.ones(len(rows)))


def select_disagreement(groups: Sequence[Outcomes], rate: float) -> Selection:
    """Keep the samples that candidates disagree on most; the others become constants.

    A sample that every candidate gets right, or wrong, ranks none above another. With p the chance
    that a voter gets a sample right, its importance is the variance of that bit, p(1 − p), summed
    over groups of voters. Architectures with the frozen prefix are the first, and count twice: they
    disagree just where later candidates will, but are few. The last generation is the second.
    Dropped samples enter every score with the first's means, so that scores stay on the scale of
    the whole split. Beyond the paper; measured in `benchmarks/sampling`.

    Args:
        groups: groups of candidates, and what each says of all `n` samples. Candidates whose
            logits are not finite have no vote, unless a group has no others.
        rate: the share of samples to keep; of equals the first.
    """
    usable = [
        group.of_candidates(np.flatnonzero(group.finite | ~group.finite.any())) for group in groups
    ]
    first = usable[0]
    importance = sum((disagreement(group) for group in usable), disagreement(first)).round(9)
    order = np.argsort(-importance, kind="stable")
    kept = kept_samples(len(order), rate)
    rest = np.sort(order[kept:])
    dropped = Dropped(
        len(rest),
        {name: float(each.mean(axis=0)[rest].sum()) for name, each in first.values.items()},
        float(known_losses(first.losses).mean(axis=0)[rest].sum()),
    )
    return Selection(np.sort(order[:kept]), np.ones(kept), dropped)


def disagreement(votes: Outcomes) -> np.ndarray:
    """The variance over voters of each sample's first objective, `float64[n]`.

    Where that is a correct bit, a little of the probability that voters give the label is mixed in:
    of the samples on which few voters agree by chance alone, those that all are sure of are the
    least likely to divide others.
    """
    if votes.first.dtype != bool:
        return votes.first.astype(np.float64).var(axis=0)
    sure = np.exp(-known_losses(votes.losses)).mean(axis=0)
    share = (1.0 - SOFTNESS) * votes.first.mean(axis=0) + SOFTNESS * sure
    return share * (1.0 - share)


def known_losses(losses: np.ndarray) -> np.ndarray:
    """Losses as float64, with those that are not finite as large as the largest finite one."""
    known = np.asarray(losses, dtype=np.float64)
    finite = known[np.isfinite(known)]
    return np.where(np.isfinite(known), known, finite.max() if len(finite) else 1.0)


def inclusion_probabilities(losses: np.ndarray, kept: int) -> np.ndarray:
    """Probabilities proportional to loss, capped at 1, that sum to `kept`."""
    mean = losses.mean()
    sizes = losses + FLOOR * mean if mean > 0 else np.ones(len(losses))
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        left = kept - certain.sum()
        inclusion = np.where(certain, 1.0, sizes * (left / max(sizes[~certain].sum(), 1e-300)))
        over = (inclusion > 1.0) & ~certain
        if not over.any():
            return np.minimum(inclusion, 1.0)
        certain |= over
