"""The importance of samples, in numbers few enough for a record (PCF-ES, section 3.5, Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.evaluation.scores import Outcomes
from raynas.evaluation.selection import Selection, known_losses

PLACES = 60
"""Samples that a record shows at most."""

SUBNETS = 32
"""Subnets that a record shows at most."""

DIGITS = 4
"""Significant digits of a loss: more would not be seen."""


def importance_record(scored: Sequence[Outcomes], selection: Selection) -> dict[str, Any]:
    """The losses that subnets have on samples of every importance, and which samples are kept.

    Samples are ordered by their mean loss over the subnets, the largest first, and some at equal
    distances are shown.

    Args:
        scored: outcomes of candidates on all `n` samples that were selected from.
        selection: what was selected of them.

    Returns:
        A JSON object: `samples` (how many there were), `kept` (how many stay), `subnets` (how many
        were scored), `ranks` (of the samples that are shown), `losses` (a row for each subnet that
        is shown), and `kept_shares` (of the samples from each rank that is shown to the next).
    """
    losses = known_losses(np.concatenate([group.losses for group in scored]))
    subnets, samples = losses.shape
    order = np.argsort(-losses.mean(axis=0), kind="stable")
    kept = np.zeros(samples, dtype=bool)
    kept[selection.rows] = True
    parts = np.array_split(order, min(PLACES, samples))
    firsts = [int(part[0]) for part in parts]
    shown = losses[: min(SUBNETS, subnets)][:, firsts]
    ranks = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return {
        "samples": samples,
        "kept": len(selection.rows),
        "subnets": subnets,
        "ranks": [int(rank) for rank in ranks],
        "losses": [[shortened(value) for value in row] for row in shown],
        "kept_shares": [shortened(kept[part].mean()) for part in parts],
    }


def shortened(value: float) -> float:
    """A number with few significant digits."""
    return float(f"{value:.{DIGITS}g}")
