"""Whether the samples that matter for one candidate matter for others (Figure 6)."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

import raynas
from raynas.files import Record
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.report.read import RunRecords
from raynas.workers.open_pool import open_pool

FEWEST = 5
"""Candidates that a generation must have, so that pairs of them say something."""

SHARE = 0.25
"""The share of samples of largest loss that pairs of candidates are compared by."""


def importance(
    supernet: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    records: RunRecords,
    workers: int | None,
) -> Record | None:
    """The agreement of the first generation behind a frozen prefix on what is hard.

    Args:
        supernet: that was searched.
        images: on which it was searched.
        records: of a search that freezes, on all samples.
        workers: Ray actors; 0 for this process.

    Returns:
        `None` if no generation behind a prefix has enough new candidates.
    """
    frozen = [g for g in records.generations if g["frozen"] and len(g["population"]) >= FEWEST]
    if not frozen:
        return None
    record = frozen[0]
    candidates = [tuple(score["architecture"]) for score in record["population"]]
    protocol = raynas.Evaluation()
    with open_pool(supernet, protocol, workers) as pool:
        evaluator = PopulationEvaluator(
            pool, Splits(images.calibration, images.validation), protocol, seed=0
        )
        evaluator.freeze(tuple(record["prefix"]), candidates[0])
        losses = evaluator.outcomes(candidates).losses
    return {
        "generation": record["generation"] + 1,
        "frozen": record["frozen"],
        "candidates": len(candidates),
        "samples": losses.shape[1],
        **agreement(losses),
    }


def agreement(losses: np.ndarray) -> Record:
    """Mean agreement of pairs of candidates.

    Args:
        losses: `[candidates, samples]`, at least three candidates.

    Returns:
        `loss_correlation`: the mean rank correlation of two candidates' losses; `largest_shared`:
        the mean share of one's samples of largest loss, a quarter of all, that are the other's
        too (a quarter by chance).
    """
    known = losses.astype(np.float64)
    size = max(1, round(known.shape[1] * SHARE))
    largest = [set(np.argsort(-row, kind="stable")[:size].tolist()) for row in known]
    pairs = np.tril_indices(len(known), -1)
    shared = [len(largest[a] & largest[b]) / size for a, b in zip(*pairs, strict=True)]
    correlations = np.asarray(spearmanr(known, axis=1).statistic)
    return {
        "loss_correlation": float(np.mean(correlations[pairs])),
        "largest_shared": float(np.mean(shared)),
    }
