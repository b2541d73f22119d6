"""Which validation samples the shards behind a frozen prefix keep (PCF-ES, section 3.5)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

FLOOR = 1e-6
"""Every sample keeps this share of the mean probability, since q > 0 wherever p > 0."""


def select_samples(
    losses: np.ndarray, rate: float, mode: Literal["top", "weighted"], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose samples by the loss of one frozen-prefix subnet (equation 2: q ∝ p · loss).

    `"weighted"` keeps every sample at most once: sample i enters with probability
    πᵢ = min(1, m·qᵢ) by systematic sampling, and 1/πᵢ is the p/q of equation 1, so that weighted
    sums over the kept samples estimate the sums over all samples without bias.

    Args:
        losses: `[n]` cross-entropy of each sample, at least 0; not finite counts as the largest.
        rate: the share of samples to keep.
        mode: `"top"` or `"weighted"`.
        rng: draws the starting point of the systematic sample.

    Returns:
        The kept rows in ascending order, and their weights (all 1 for `"top"`).
    """
    kept = max(1, math.ceil(round(rate * len(losses), 6)))
    known = np.asarray(losses, dtype=np.float64)
    finite = known[np.isfinite(known)]
    known = np.where(np.isfinite(known), known, finite.max() if len(finite) else 1.0)
    if mode == "top":
        order = np.lexsort((np.arange(len(known)), -known))
        return np.sort(order[:kept]), np.ones(kept)
    inclusion = inclusion_probabilities(known, kept)
    ticks = np.floor(np.cumsum(inclusion) + rng.random())
    rows = np.flatnonzero(np.diff(ticks, prepend=0.0) >= 1.0)
    return rows, 1.0 / inclusion[rows]


def inclusion_probabilities(losses: np.ndarray, kept: int) -> np.ndarray:
    """Probabilities proportional to loss, capped at 1, that sum to `kept`."""
    mean = losses.mean()
    sizes = losses + FLOOR * mean if mean > 0 else np.ones(len(losses))
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        room = kept - certain.sum()
        inclusion = np.where(certain, 1.0, sizes * (room / max(sizes[~certain].sum(), 1e-300)))
        over = (inclusion > 1.0) & ~certain
        if not over.any():
            return np.minimum(inclusion, 1.0)
        certain |= over
