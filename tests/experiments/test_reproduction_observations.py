"""Figures 2, 3, 5 and 6 of a reproduction, by hand on populations of a few members."""

from __future__ import annotations

import numpy as np
import pytest
from reproduction.importance import agreement
from reproduction.observations import (
    Distances,
    Following,
    choice_distance,
    distances,
    following,
    majority_shares,
)

START = [[2, 2], [2, 2], [3, 1]]
"""Two choices of three blocks in a population of four."""
AGREED = [[1, 3], [4, 0], [2, 2]]
LATER = [[0, 4], [4, 0], [1, 3]]


def test_majority_shares() -> None:
    assert majority_shares([START, [], AGREED]) == [[0.5, 0.5, 0.75], None, [0.75, 1.0, 0.5]]


def test_distances_of_the_first_majority() -> None:
    row = {
        # Blocks 1 and 2 have 7/8 on average, and both exceed 0.7; all three have 3/4, and two do.
        "counts": [START, START, AGREED, LATER],
        "first_best": [0, 1, 0],
        "last_best": [1, 0, 0],
    }
    found = distances(row, 0.7)
    # Members of the first two generations differ from any choice of any block in half of the
    # cases; over three blocks, they differ from the last choice in a quarter.
    three = (0.5 + 0.5 + 0.25) / 3
    assert found == Distances(3, 3, (three, three), (2 / 3, 0.0))
    assert distances({**row, "counts": [LATER, START, START]}, 0.7) is None


def test_the_random_first_generation_is_no_majority() -> None:
    row = {"counts": [LATER, START], "first_best": [1, 0, 0], "last_best": [1, 0, 0]}
    assert distances(row, 0.9) is None


def test_generations_without_a_population_are_passed_over() -> None:
    row = {"counts": [START, [], AGREED], "first_best": [0, 0, 0], "last_best": [1, 0, 0]}
    three = (0.5 + 0.5 + 0.25) / 3
    assert distances(row, 0.7) == Distances(3, 3, (three, three), (1 / 3, 0.0))


def test_choice_distance() -> None:
    assert choice_distance((0, 1), (0, 2, 5)) == 0.5


def row(frozen: list[int], counts: list[list[list[int]]]) -> dict[str, object]:
    """A search of three blocks."""
    generations = [{"frozen": blocks} for blocks in frozen]
    return {"generations": generations, "counts": counts, "choices": [2, 2, 2]}


def test_the_block_behind_a_freeze() -> None:
    once = row([0, 0, 2, 2], [START, AGREED, [[0, 4], [4, 0], [4, 0]], []])
    free = row([0, 0, 0, 0], [START, AGREED, LATER, START])
    assert following(once, free, 4) == Following(
        3, 2, [0.5, 1.0, None, None], [0.5, 0.75, 0.75, None]
    )


@pytest.mark.parametrize("frozen", [[0, 0, 0], [0, 0, 3]])
def test_no_block_is_behind_nothing_or_everything(frozen: list[int]) -> None:
    counts = [START, AGREED, LATER]
    assert following(row(frozen, counts), row([0, 0, 0], counts)) is None


def test_agreement_of_equal_and_opposite_candidates() -> None:
    rising = np.arange(8.0)
    same = agreement(np.stack([rising, 2 * rising, rising**3]).astype(np.float32))
    assert same == {"loss_correlation": pytest.approx(1.0), "largest_shared": 1.0}
    # Of three pairs, one agrees and two are opposite.
    mixed = agreement(np.stack([rising, rising, -rising]))
    assert mixed["loss_correlation"] == pytest.approx(-1 / 3)
    assert mixed["largest_shared"] == pytest.approx(1 / 3)
