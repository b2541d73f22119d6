"""Path samplers: the right distribution, and always within the limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.space import SearchSpace
from raynas.training import (
    FairPaths,
    LegalPaths,
    PathSampler,
    UniformConstraintPaths,
    UniformPaths,
)

SPACE = SearchSpace((2, 3, 2))
TABLE = CostTable("flops", 1, ((0, 4), (1, 2, 3), (0, 2)))


def limited(at_most: int, *others: Limit) -> Limits:
    return Limits(SPACE, (Limit(TABLE, at_most), *others))


def draws(sampler: PathSampler, count: int = 2400) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    steps = [sampler.sample(rng) for _ in range(count)]
    assert {len(step) for step in steps} == {1}
    return [path for (path,) in steps]


def test_uniform_paths_are_uniform() -> None:
    paths = draws(UniformPaths(SPACE))
    assert chisquare([paths.count(a) for a in SPACE.enumerate()]).pvalue > 0.01


def test_constrained_paths_are_uniform_over_the_legal_ones() -> None:
    limits = limited(6)
    legal = list(limits.enumerate())
    assert 0 < len(legal) < SPACE.count()
    paths = draws(LegalPaths(SPACE, limits))
    assert set(paths) == set(legal)
    assert chisquare([paths.count(a) for a in legal]).pvalue > 0.01


@given(st.integers(2, 11), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_constrained_paths_are_legal_however_few_the_tries(
    at_most: int, tries: int, seed: int
) -> None:
    limits = limited(at_most)
    (path,) = LegalPaths(SPACE, limits, tries).sample(np.random.default_rng(seed))
    assert limits.allows(path)
    assert SPACE.validate(path) == path


def test_a_single_legal_path_in_a_huge_space_is_found() -> None:
    space = SearchSpace((4,) * 20)
    table = CostTable("flops", 0, ((1, 1, 0, 1),) * 20)
    sampler = LegalPaths(space, Limits(space, (Limit(table, 0),)), tries=5)
    assert sampler.sample(np.random.default_rng(0)) == ((2,) * 20,)


@pytest.mark.parametrize("tries", [1, 100])
def test_paths_under_several_limits_are_uniform(tries: int) -> None:
    other = CostTable("ms", 0.0, ((0.1, 0.3), (0.2, 0.0, 0.1), (0.0, 0.3)))
    limits = limited(8, Limit(other, at_most=0.6, at_least=0.3))
    legal = list(limits.enumerate())
    assert 0 < len(legal) < SPACE.count()
    paths = draws(LegalPaths(SPACE, limits, tries), 800)
    assert set(paths) == set(legal)
    assert chisquare([paths.count(a) for a in legal]).pvalue > 0.01


def test_tight_limits_do_not_favour_rare_prefixes() -> None:
    """Both are legal as often as they occur, though one first choice leaves a single completion."""
    space = SearchSpace((2, 8))
    table = CostTable("flops", 0, ((7, 0), tuple(range(8))))
    limits = Limits(space, (Limit(table, 7),))
    rng = np.random.default_rng(0)
    sampler = LegalPaths(space, limits, tries=1)
    firsts = [sampler.sample(rng)[0][0] for _ in range(900)]
    assert firsts.count(0) == pytest.approx(100, abs=40)


def test_the_generator_alone_determines_paths() -> None:
    for sampler in (UniformPaths(SPACE), LegalPaths(SPACE, limited(3), 2)):
        assert draws(sampler, 50) == draws(sampler, 50)


def test_descriptions_tell_samplers_apart() -> None:
    samplers = [
        UniformPaths(SPACE),
        LegalPaths(SPACE, limited(6)),
        LegalPaths(SPACE, limited(7)),
        LegalPaths(SPACE, limited(7), tries=1),
    ]
    assert len({sampler.terms() for sampler in samplers}) == 4


def test_impossible_constraints() -> None:
    with pytest.raises(InputError, match=r"cheapest architecture \[0, 0, 0\].*at most 1"):
        LegalPaths(SPACE, limited(1))
    with pytest.raises(InputError, match=r"limits: expected .*\[2, 3, 2\].*\[2, 3\]"):
        LegalPaths(SPACE, Limits(SearchSpace((2, 3))))
    with pytest.raises(InputError, match="tries"):
        LegalPaths(SPACE, limited(9), tries=0)


def bin_of(cost: float, least: float, most: float, bins: int) -> int:
    return min(int((cost - least) * bins / (most - least + 1)), bins - 1)


@pytest.mark.parametrize("tries", [1, 100])
def test_paths_are_uniform_over_cost_bins(tries: int) -> None:
    """TABLE's sums are 2 to 10: three bins of three costs each."""
    sampler = UniformConstraintPaths(SPACE, TABLE, bins=3, tries=tries)
    paths = draws(sampler)
    found = [bin_of(TABLE.of(path), 2, 10, 3) for path in paths]
    assert chisquare([found.count(k) for k in range(3)]).pvalue > 0.01
    for number in range(3):
        legal = [a for a in SPACE.enumerate() if bin_of(TABLE.of(a), 2, 10, 3) == number]
        inside = [path for path, own in zip(paths, found, strict=True) if own == number]
        assert set(inside) == set(legal)
        assert chisquare([inside.count(a) for a in legal]).pvalue > 0.01


def test_bins_that_hold_nothing_are_left_out() -> None:
    space = SearchSpace((2, 2))
    table = CostTable("flops", 0, ((0, 100), (0, 1)))
    sampler = UniformConstraintPaths(space, table, bins=10)
    paths = draws(sampler, 400)
    assert chisquare([paths.count(a) for a in space.enumerate()]).pvalue > 0.01


@given(st.integers(1, 30), st.integers(4, 9), st.integers(0, 2**32 - 1))
def test_bins_stay_within_the_limits(bins: int, at_most: int, seed: int) -> None:
    ms = CostTable("ms", 0.0, ((0.1, 0.3), (0.2, 0.0, 0.1), (0.0, 0.3)))
    limits = limited(at_most, Limit(ms, at_most=0.6))
    for cost in (TABLE, ms):
        sampler = UniformConstraintPaths(SPACE, cost, limits, bins, tries=2)
        (path,) = sampler.sample(np.random.default_rng(seed))
        assert limits.allows(path)


def test_every_legal_path_can_be_drawn_however_many_bins() -> None:
    limits = limited(8)
    ms = CostTable("ms", 0.0, ((0.1, 0.3), (0.2, 0.0, 0.1), (0.0, 0.3)))
    for bins in (1, 4, 50):
        paths = set(draws(UniformConstraintPaths(SPACE, ms, limits, bins), 600))
        assert paths == set(limits.enumerate())


def test_dear_paths_are_as_likely_as_common_ones_at_full_size() -> None:
    space = SearchSpace((4,) * 20)
    table = CostTable("flops", 7, ((3, 5, 9, 14),) * 20)
    sampler = UniformConstraintPaths(space, table, bins=5, tries=3)
    costs = [table.of(path) for path in draws(sampler, 100)]
    width = (14 - 3) * 20 / 5
    found = [min(int((cost - 67) / width), 4) for cost in costs]
    assert all(found.count(k) > 8 for k in range(5))


def narrow(width: int) -> tuple[CostTable, Limits]:
    """A cost of FairNAS's space, and a window around the middle of another, in units of 10^9."""
    rng = np.random.default_rng(0)
    rows = [tuple(tuple(map(int, row)) for row in rng.integers(1, 10**8, (19, 6))) for _ in "ab"]
    cost, other = CostTable("cost", 0, rows[0]), CostTable("other", 0, rows[1])
    middle = (other.of(other.cheapest()) + other.of(other.dearest())) // 2
    limit = Limit(other, int(middle) + width, int(middle) - width)
    return cost, Limits(SearchSpace((6,) * 19), (limit,))


@pytest.mark.parametrize("width", [10**7, 3 * 10**4])
def test_bins_under_a_narrow_limit_are_all_there(width: int) -> None:
    """Too narrow for the tolerance of a solver, in a space too large to count."""
    cost, limits = narrow(width)
    sampler = UniformConstraintPaths(limits.space, cost, limits, bins=5)
    assert json.loads(sampler.terms()[len("UniformConstraintPaths(") : -len(", 100)")])
    least, most = cost.of(cost.cheapest()), cost.of(cost.dearest())
    paths = draws(sampler, 40)
    assert {bin_of(cost.of(path), least, most, 5) for path in paths} >= {1, 2, 3}
    assert all(limits.allows(path) for path in paths)


def test_bins_of_which_nothing_can_be_told_are_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feasible = Limits.feasible

    def told(limits: Limits, prefix: tuple[int, ...] = ()) -> bool | None:
        window = next(limit for limit in limits.limits if limit.table.name == "flops")
        return None if window.at_most in unknown else feasible(limits, prefix)

    monkeypatch.setattr(Limits, "feasible", told)
    unknown = {4}
    sampler = UniformConstraintPaths(SPACE, TABLE, limited(10), bins=3)
    assert {bin_of(TABLE.of(path), 2, 10, 3) for path in draws(sampler, 100)} == {1, 2}
    assert "flops at least 2 and at most 4" in caplog.text
    unknown = {4, 7, 10}
    with pytest.raises(InputError, match="for bins of flops"):
        UniformConstraintPaths(SPACE, TABLE, limited(11), bins=3)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_a_fair_step_takes_every_choice_once(blocks: int, choices: int, seed: int) -> None:
    space = SearchSpace((choices,) * blocks)
    paths = FairPaths(space).sample(np.random.default_rng(seed))
    assert len(paths) == choices
    assert all(space.validate(path) == path for path in paths)
    for block in range(blocks):
        assert sorted(path[block] for path in paths) == list(range(choices))


def test_fair_permutations_are_drawn_for_each_block_alone() -> None:
    rng = np.random.default_rng(0)
    sampler = FairPaths(SearchSpace((2, 2)))
    firsts = [sampler.sample(rng)[0] for _ in range(2400)]
    assert chisquare([firsts.count(a) for a in SearchSpace((2, 2)).enumerate()]).pvalue > 0.01


def test_fair_paths_need_equally_many_choices() -> None:
    with pytest.raises(InputError, match=r"equally many choices.*2 and 3"):
        FairPaths(SPACE)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"bins": 0}, "bins"),
        ({"bins": 2.5}, "bins"),
        ({"tries": 0}, "tries"),
        ({"limits": Limits(SearchSpace((2, 2)))}, "limits"),
        ({"limits": limited(1)}, "constraint"),
        ({"cost": CostTable("flops", 1, ((0, 4), (1, 2)))}, "cost table 'flops'"),
        ({"cost": CostTable("flops", 2, TABLE.blocks), "limits": limited(9)}, "constraint"),
    ],
)
def test_bins_of_what_cannot_be_cut_are_refused(options: dict, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        UniformConstraintPaths(**{"space": SPACE, "cost": TABLE, **options})
    assert caught.value.argument == argument
