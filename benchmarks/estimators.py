"""Ways to select samples at a freeze that were tried for `"disagreement"`, by what decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from freezes import Freeze, joined

from raynas.evaluation.scores import ShardScores
from raynas.evaluation.selection import (
    Selection,
    disagreement,
    inclusion_probabilities,
    kept_samples,
    select_disagreement,
)

Selector = Callable[[Freeze, float, np.random.Generator], Selection]
"""Selects samples at a freeze at a rate."""

TOP = 10


def most(importance: np.ndarray, rate: float) -> Selection:
    """The samples of largest importance."""
    order = np.argsort(-importance.round(9), kind="stable")
    kept = np.sort(order[: kept_samples(len(order), rate)])
    return Selection(kept, np.ones(len(kept)))


def drawn(importance: np.ndarray, rate: float, rng: np.random.Generator) -> Selection:
    """Samples drawn by importance, with p/q as their weights."""
    inclusion = inclusion_probabilities(importance, kept_samples(len(importance), rate))
    ticks = np.floor(np.cumsum(inclusion) + rng.random())
    rows = np.flatnonzero(np.diff(ticks, prepend=0.0) >= 1.0)
    return Selection(rows, 1.0 / inclusion[rows])


def hard(votes: ShardScores) -> np.ndarray:
    """p(1 − p) of the bits alone; the largest mean loss first among equals."""
    share = votes.correct.mean(axis=0)
    losses = votes.losses.mean(axis=0)
    return share * (1.0 - share) + 1e-6 * losses / max(losses.max(), 1.0)


def best(votes: ShardScores) -> ShardScores:
    """The Top-K of a group."""
    return votes.take(np.argsort(-votes.correct.mean(axis=1), kind="stable")[:TOP])


def groups(freeze: Freeze) -> list[ShardScores]:
    """The electorates that the library uses."""
    return [freeze.parents, freeze.last]


def spread(values: Sequence[np.ndarray]) -> np.ndarray:
    """The sum over groups of the variance over voters."""
    return np.sum([group.var(axis=0) for group in values], axis=0)


ESTIMATORS: dict[str, Selector] = {
    "library: parents and last generation": lambda f, r, g: select_disagreement(groups(f), r),
    "last generation": lambda f, r, g: select_disagreement([f.last], r),
    "last generation, bits only": lambda f, r, g: most(hard(f.last), r),
    "Top-10 of the last generation": lambda f, r, g: select_disagreement([best(f.last)], r),
    "all generations before, pooled": lambda f, r, g: select_disagreement(
        [joined([past.voters for past in f.past])], r
    ),
    "parents": lambda f, r, g: select_disagreement([f.parents], r),
    "parents and last, bits only": lambda f, r, g: most(2 * hard(f.parents) + hard(f.last), r),
    "parents and last, pooled": lambda f, r, g: select_disagreement([joined(groups(f))], r),
    "parents and last, weighted by p/q": lambda f, r, g: drawn(
        2 * disagreement(f.parents) + disagreement(f.last), r, g
    ),
    "variance of losses": lambda f, r, g: most(spread([v.losses for v in groups(f)]), r),
    "variance of probabilities": lambda f, r, g: most(
        spread([np.exp(-v.losses) for v in groups(f)]), r
    ),
}
"""What each is called in the table."""
