"""The genetic algorithm on a table: legal, repeatable, and never better than the optimum."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from raynas.costs import CostTable, Limit, Limits
from raynas.costs.optimum import least
from raynas.errors import InputError
from raynas.evolution import TableSearch
from raynas.space import SearchSpace

BRIEF = TableSearch(generations=60)


def scene(blocks: int, choices: int, share: float = 0.3, seed: int = 0) -> tuple[CostTable, Limits]:
    """What choices lose and cost: the cheap ones lose more."""
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.integers(1, 1000, (blocks, choices)), axis=1)
    lost = np.sort(rng.integers(0, 500, (blocks, choices)), axis=1)[:, ::-1]
    flops = CostTable("flops", 100, costs.tolist())
    low, high = flops.of(flops.cheapest()), flops.of(flops.dearest())
    limits = Limits(
        SearchSpace((choices,) * blocks), (Limit(flops, int(low + share * (high - low))),)
    )
    return CostTable("lost", 0.0, (lost / 1000).tolist()), limits


@pytest.mark.parametrize("seed", range(4))
def test_small_spaces_are_solved(seed: int) -> None:
    lost, limits = scene(4, 3, seed=seed)
    best = min(lost.of(each) for each in product(range(3), repeat=4) if limits.allows(each))
    found = BRIEF.minimise(lost, limits, np.random.default_rng(seed))
    exact = least(lost, limits)
    assert limits.allows(found.architecture)
    assert exact is not None
    assert found.cost == exact.cost == best == lost.of(found.architecture)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_it_never_beats_the_optimum(share: float) -> None:
    lost, limits = scene(19, 12, share)
    found = BRIEF.minimise(lost, limits, np.random.default_rng(0))
    exact = least(lost, limits)
    assert exact is not None
    assert exact.proven
    assert limits.allows(exact.architecture)
    assert limits.allows(found.architecture)
    assert found.cost >= exact.cost
    assert len(found.curve) == BRIEF.generations + 1
    assert list(found.curve) == sorted(found.curve, reverse=True), "parents survive"
    assert found.curve[0] > found.curve[-1] == found.cost


def test_every_chromosome_is_legal_and_as_many_as_the_paper_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost, limits = scene(6, 4)
    met: list[int] = []
    select = TableSearch.select

    def watched(self: TableSearch, table: CostTable, population: Any) -> Any:
        assert all(limits.allows(each) for each in population)
        met.append(len(population))
        chosen = select(self, table, population)
        assert len(chosen) == len(set(chosen)) <= 10
        return chosen

    monkeypatch.setattr(TableSearch, "select", watched)
    BRIEF.minimise(lost, limits, np.random.default_rng(0))
    assert met[0] == 20
    assert len(met) == 61
    assert all(11 <= count <= 20 for count in met)


def test_crossover_swaps_tails_and_mutation_is_rejected_until_legal() -> None:
    lost, limits = scene(6, 4, share=1.0)
    a, b = (0,) * 6, (3,) * 6
    rng = np.random.default_rng(0)
    ends = {BRIEF.cross(a, b, limits, rng) for _ in range(100)}
    assert ends == {(a[:k] + b[k:], b[:k] + a[k:]) for k in range(1, 7)}
    flops = limits.limits[0].table
    only = Limits(limits.space, (Limit(flops, flops.of(flops.cheapest())),))
    assert BRIEF.cross(a, b, only, rng) == (a, b), "parents stay where no child is legal"
    assert BRIEF.mutated(flops.cheapest(), only, rng) == flops.cheapest()
    found = BRIEF.minimise(lost, only, rng)
    assert found.architecture == flops.cheapest()


def test_a_seed_repeats_it() -> None:
    lost, limits = scene(8, 5)
    runs = [BRIEF.minimise(lost, limits, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].curve != runs[2].curve


def test_limits_that_nothing_keeps_are_refused() -> None:
    lost, limits = scene(4, 3)
    impossible = Limits(limits.space, (Limit(limits.limits[0].table, 3),))
    with pytest.raises(InputError, match="constraint: expected a limit of at least"):
        BRIEF.minimise(lost, impossible, np.random.default_rng(0))
    with pytest.raises(InputError, match="choices per block"):
        BRIEF.minimise(scene(3, 3)[0], limits, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"population": 0}, "population"),
        ({"parents": 5}, "parents"),
        ({"parents": 22}, "parents"),
        ({"generations": 1.5}, "generations"),
        ({"mutation_probability": 2}, "mutation_probability"),
        ({"tries": 0}, "tries"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        TableSearch(**settings)
    assert caught.value.argument == argument
