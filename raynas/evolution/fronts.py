"""Non-dominated ranks and crowding of scores by their first objective and their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import final

import numpy as np

from raynas.errors import InputError, is_number, require
from raynas.score import Score, rank_key


@final
@dataclass(frozen=True)
class NonDominated:
    """Survival of NSGA-II: the lower rank first, and within a rank who has more room around.

    Ties, as among the two ends of each objective, go to the better first objective. Scores that are
    not finite come last.

    Args:
        costs: the names of the costs to minimise, beside the first objective to maximise.
    """

    costs: tuple[str, ...]

    def __call__(self, scores: Sequence[Score], count: int) -> tuple[Score, ...]:
        """The `count` scores that survive, best first."""
        usable = [score for score in scores if score.usable]
        ranks = ranks_of(usable, self.costs)
        ordered: list[Score] = []
        for rank in range(max(ranks, default=-1) + 1):
            front = [score for score, own in zip(usable, ranks, strict=True) if own == rank]
            rooms = crowding(points_of(front, self.costs))
            pairs = zip(front, rooms, strict=True)
            ordered += [s for s, _ in sorted(pairs, key=lambda pair: (-pair[1], rank_key(pair[0])))]
        failed = sorted((score for score in scores if not score.usable), key=rank_key)
        return (*ordered, *failed)[:count]


def front_of(scores: Sequence[Score], costs: Sequence[str]) -> tuple[Score, ...]:
    """The scores that no other one dominates, best first objective first.

    Of several with the same objective and costs, all belong to the front.
    """
    usable = [score for score in scores if score.usable]
    ranks = ranks_of(usable, costs)
    first = [score for score, rank in zip(usable, ranks, strict=True) if rank == 0]
    return tuple(sorted(first, key=rank_key))


def hypervolume(scores: Sequence[Score], costs: Sequence[str], reference: Sequence[float]) -> float:
    """The volume that scores dominate, up to a reference.

    Args:
        scores: of a front, or any; those that are not finite have none.
        costs: the names of the costs.
        reference: the worst first objective and costs that count, in this order.

    Raises:
        InputError: a reference of another length or of something else than finite numbers, or a
            score without one of the costs.
    """
    import moocore

    require(
        isinstance(reference, Sequence | np.ndarray)
        and len(reference) == 1 + len(costs)
        and all(is_number(worst) and isfinite(worst) for worst in reference),
        "reference",
        f"finite numbers: the worst first objective, then the worst of {', '.join(costs)}",
        repr(reference),
        "Write reference=(0.0, 330e6), for costs=('flops',).",
    )
    points = points_of([score for score in scores if score.usable], costs)
    if len(points) == 0:
        return 0.0
    worst = [-reference[0], *reference[1:]]
    return float(moocore.hypervolume(points, ref=worst))


def ranks_of(scores: Sequence[Score], costs: Sequence[str]) -> list[int]:
    """The non-dominated rank of each score; 0 is the front."""
    import moocore

    if not scores:
        return []
    return [int(rank) for rank in moocore.pareto_rank(points_of(scores, costs))]


def points_of(scores: Sequence[Score], costs: Sequence[str]) -> np.ndarray:
    """The numbers to minimise, `float64[scores, 1 + costs]`.

    Raises:
        InputError: a score without one of the costs.
    """
    rows = np.empty((len(scores), 1 + len(costs)))
    for row, score in zip(rows, scores, strict=True):
        missing = [name for name in costs if name not in score.costs]
        if missing:
            raise InputError(
                "costs",
                f"names among {', '.join(score.costs) or 'none'}",
                missing[0],
                "Name a cost that the problem has; a table of your own comes as a raynas.Cost.",
            )
        row[:] = (-score.value, *(score.costs[name] for name in costs))
    return rows


def crowding(points: np.ndarray) -> list[float]:
    """The crowding distance of each point of a front (Deb et al. 2002, section III-B).

    Infinite for those with the least or the largest value of an objective; one that is the same for
    all tells nobody apart.

    Args:
        points: `[points, objectives]`.
    """
    rooms = np.zeros(len(points))
    if len(points) == 0:
        return []
    for column in points.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        width = ordered[-1] - ordered[0]
        if width > 0:
            rooms[(column == ordered[0]) | (column == ordered[-1])] = np.inf
            rooms[order[1:-1]] += (ordered[2:] - ordered[:-2]) / width
    return [float(room) for room in rooms]
