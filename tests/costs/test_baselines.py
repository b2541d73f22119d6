"""Architectures to compare with: one choice everywhere, and different random ones of one cost."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from raynas.costs import CostTable, random_near, same_choice
from raynas.errors import InputError
from raynas.supernets import fairnas_28x28, spos_8x8

TABLE = CostTable("flops", 10, [[0, 1, 2], [0, 3, 6], [0, 10, 20]])


def test_one_choice_in_every_block_by_name_or_index() -> None:
    supernet = spos_8x8()
    assert same_choice(supernet, "c3") == same_choice(supernet, 0) == (0,) * 8
    assert same_choice(supernet, "x") == (3,) * 8
    assert same_choice(fairnas_28x28(), "e6k7") == (5,) * 12
    with pytest.raises(InputError, match="for block 0 one of c3, c5, c7, x"):
        same_choice(supernet, "c9")
    with pytest.raises(InputError, match="index from 0 to 3"):
        same_choice(supernet, 4)


def within(low: float, high: float) -> set[tuple[int, ...]]:
    return {each for each in product(range(3), repeat=3) if low <= TABLE.of(each) <= high}


def test_all_that_there_are_can_be_drawn_and_no_others() -> None:
    legal = within(18, 22)
    assert len(legal) > 2
    found = random_near(TABLE, 20, len(legal), within=0.1)
    assert len(found) == len(legal)
    assert set(found) == legal
    left = next(iter(legal))
    assert set(random_near(TABLE, 20, len(legal) - 1, within=0.1, others=[left])) == legal - {left}
    with pytest.raises(InputError, match=f"count: expected at most {len(legal)}, .*18 to 22 flops"):
        random_near(TABLE, 20, len(legal) + 1, within=0.1)


def test_draws_are_uniform_and_the_seeds_own() -> None:
    legal = within(18, 22)
    first = Counter(random_near(TABLE, 20, 1, within=0.1, seed=seed)[0] for seed in range(400))
    expected = 400 / len(legal)
    assert set(first) == legal
    assert max(abs(n - expected) for n in first.values()) < 5 * np.sqrt(expected)
    assert random_near(TABLE, 20, 3, within=0.1, seed=1) == random_near(
        TABLE, 20, 3, within=0.1, seed=1
    )


def test_costs_that_are_no_integers_and_an_exact_one() -> None:
    seconds = CostTable("latency", 0.1, [[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    found = random_near(seconds, 0.5, 3, within=0.0)
    assert {round(seconds.of(each), 9) for each in found} == {0.5}
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"amount": 1_000}, "constraint: expected a limit of at most 38 flops"),
        ({"amount": float("nan")}, "amount: expected a finite number"),
        ({"count": 0}, "count: expected at least 1"),
        ({"within": 1.5}, "within: expected a share from 0 to below 1"),
        ({"amount": 25.5, "within": 0.0}, "constraint: "),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, float], text: str) -> None:
    given = {"amount": 20, "count": 2, **arguments}
    with pytest.raises(InputError, match=text):
        random_near(TABLE, **given)
