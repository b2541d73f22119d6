"""Rank correlations of pairs, and how far they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import bootstrap, kendalltau, spearmanr

from raynas.files import Record

RESAMPLES, CONFIDENCE = 2_000, 0.95

MEASURES: Mapping[str, Callable[..., Any]] = {"kendall": kendalltau, "spearman": spearmanr}
"""Kendall's τ-b, in which ties count as such, and Spearman's ρ."""


def correlations(predicted: Sequence[float], truth: Sequence[float], seed: int = 0) -> Record:
    """Each measure, and under `…_interval` its bootstrap over the pairs.

    Args:
        predicted: one number for each architecture.
        truth: what it is to predict, in the same order.
        seed: of the resamples.
    """
    row: Record = {}
    for name, measure in MEASURES.items():

        def statistic(a: np.ndarray, b: np.ndarray, measure: Callable[..., Any] = measure) -> float:
            # A resample of one architecture alone has no order.
            if len(set(a)) == 1 or len(set(b)) == 1:
                return 0.0
            return float(measure(a, b).statistic)

        pairs = (np.asarray(predicted, float), np.asarray(truth, float))
        found = bootstrap(
            pairs, statistic, paired=True, vectorized=False, n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE, method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
        row[name] = statistic(*pairs)
        row[f"{name}_interval"] = [float(found.low), float(found.high)]
    return row
