"""Drawing within narrow windows in arrays, against counting by hand."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from oracle import cases, keeps, listed
from scipy.stats import chisquare

from raynas.costs import CostTable, Limit, Limits
from raynas.costs.drawing import FINE, RESOLUTION, sampler
from raynas.costs.rejection import FIRST, drawn_within, hits, within
from raynas.space import Architecture, SearchSpace


@given(cases())
def test_within_says_what_adding_up_says(case: tuple[Limits, Architecture]) -> None:
    limits, prefix = case
    every = list(limits.space.enumerate(prefix))
    suffixes = np.array([a[len(prefix) :] for a in every]).reshape(len(every), -1).T
    found = within(limits.windows(prefix), suffixes)
    assert found.tolist() == [keeps(limits, architecture) for architecture in every]


@given(cases())
@settings(max_examples=50)
def test_a_sampler_without_suffixes_means_that_none_is_legal(
    case: tuple[Limits, Architecture],
) -> None:
    limits, prefix = case
    windows = limits.windows(prefix)
    if windows and not any(window.closed for window in windows):
        source = sampler(windows)
        if source.size == 0:
            assert listed(limits, prefix) == []
            assert list(drawn_within(windows, source, np.random.default_rng(0), 10**6)) == []


def windows_of(width: float, blocks: int = 19, count: int = 3) -> Limits:
    """Windows in the middles of random costs, each of a share of the room."""
    rng = np.random.default_rng(0)
    limits = []
    for name in range(count):
        rows = rng.integers(10**6, 10**8, (blocks, 6)).tolist()
        table = CostTable(f"cost {name}", 0, tuple(map(tuple, rows)))
        least, most = table.units_of(table.cheapest()), table.units_of(table.dearest())
        middle, half = (least + most) // 2, int(width * (most - least) / 2)
        limits.append(Limit(table, middle + half, middle - half))
    return Limits(SearchSpace((6,) * blocks), tuple(limits))


def test_one_by_one_and_arrays_draw_from_the_same() -> None:
    """Where no draw is wasted, every legal suffix is as likely in either way."""
    table = CostTable("flops", 0, ((0, 9, 4), (3, 0, 1), (1, 2, 7)))
    limits = Limits(SearchSpace((3, 3, 3)), (Limit(table, 11, 5),))
    legal, source = listed(limits), limits.sampler(())
    arrays = Counter(map(tuple, source.many(np.random.default_rng(0), 6000).T.tolist()))
    singly = Counter(islice(source.one_by_one(np.random.default_rng(0)), 6000))
    for found in (arrays, singly):
        assert set(found) == set(legal)
        assert chisquare([found[a] for a in legal]).pvalue > 0.001


def test_rare_legal_architectures_are_equally_likely() -> None:
    """Draws one by one would starve."""
    limits = windows_of(0.02, blocks=7, count=2)
    legal = listed_by_arrays(limits)
    assert 50 < len(legal) < 1000
    source = limits.sampler((), FINE)
    draws = drawn_within(limits.windows(), source, np.random.default_rng(1), 10**6)
    drawn = Counter(islice(draws, 20 * len(legal)))
    assert set(drawn) == legal
    assert chisquare([drawn[a] for a in legal]).pvalue > 0.001


def listed_by_arrays(limits: Limits) -> set[Architecture]:
    """Every legal architecture of a space of some hundred thousand."""
    every = np.indices(limits.space.choices).reshape(limits.space.blocks, -1)
    total = np.ones(every.shape[1], dtype=bool)
    for limit in limits.limits:
        low, high = limit.range
        rows = zip(limit.extras, every, strict=True)
        sums = sum(np.array(row)[choices] for row, choices in rows)
        total &= (sums >= low) & (sums <= high)
    return set(map(tuple, every[:, total].T.tolist()))


@pytest.mark.parametrize("width", [0.01, 0.003])
def test_narrow_windows_are_drawn_from_without_the_integer_program(
    width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About one of thousands of draws is legal; listing behind prefixes took minutes."""
    limits = windows_of(width)
    assert limits.feasible()
    monkeypatch.setattr(Limits, "enumerate", None)
    drawn = list(islice(limits.draw((), np.random.default_rng(0)), 20))
    assert len(set(drawn)) == 20
    assert all(limits.allows(architecture) for architecture in drawn)
    again = windows_of(width)
    assert drawn == list(islice(again.draw((), np.random.default_rng(0)), 20))
    # What the object remembers of other draws changes nothing.
    assert drawn == list(islice(limits.draw((), np.random.default_rng(0)), 20))


def test_windows_where_draws_hit_are_drawn_from_as_ever() -> None:
    """Recorded searches resume."""
    limits, rng = windows_of(0.5), np.random.default_rng(3)
    assert limits.way(()) == "singly"
    legal = filter(limits.allows, limits.near((), np.random.default_rng(3)))
    assert list(islice(limits.draw((), rng), 50)) == list(islice(legal, 50))


def test_prefixes_are_kept_in_arrays_too() -> None:
    limits = windows_of(0.002)
    (some,) = islice(limits.draw((), np.random.default_rng(0)), 1)
    assert limits.way(some[:2]) == "in arrays"
    for architecture in islice(limits.draw(some[:2], np.random.default_rng(1)), 10):
        assert architecture[:2] == some[:2]
        assert limits.allows(architecture)
    assert next(limits.draw(some, np.random.default_rng(1))) == some


def test_what_arrays_would_not_find_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every draw of a search would try all of them in vain."""
    monkeypatch.setattr("raynas.costs.limits.share_within", lambda *_: 0.0)
    monkeypatch.setattr("raynas.costs.limits.hits", lambda *_: False)
    monkeypatch.setattr("raynas.costs.limits.drawn_within", None)
    limits = windows_of(0.1, blocks=5)
    assert limits.way(()) == "listed"
    legal = listed_by_arrays(limits)
    assert set(islice(limits.draw((), np.random.default_rng(0)), 20)) <= legal


def test_draws_in_a_row_are_bounded() -> None:
    limits = windows_of(0.0)
    source = limits.sampler((), RESOLUTION)
    assert not hits(limits.windows(), source)
    rng = np.random.default_rng(0)
    assert list(drawn_within(limits.windows(), source, rng, FIRST)) == []
    assert rng.random() == np.random.default_rng(0).random(19 * FIRST + 1)[-1]
