"""Path samplers: the right distribution, and always within the limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.space import SearchSpace
from raynas.training import PathSampler, UniformConstraintPaths, UniformPaths

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
    paths = draws(UniformConstraintPaths(SPACE, limits))
    assert set(paths) == set(legal)
    assert chisquare([paths.count(a) for a in legal]).pvalue > 0.01


@given(st.integers(2, 11), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_constrained_paths_are_legal_however_few_the_tries(
    at_most: int, tries: int, seed: int
) -> None:
    limits = limited(at_most)
    (path,) = UniformConstraintPaths(SPACE, limits, tries).sample(np.random.default_rng(seed))
    assert limits.allows(path)
    assert SPACE.validate(path) == path


def test_a_single_legal_path_in_a_huge_space_is_found() -> None:
    space = SearchSpace((4,) * 20)
    table = CostTable("flops", 0, ((1, 1, 0, 1),) * 20)
    sampler = UniformConstraintPaths(space, Limits(space, (Limit(table, 0),)), tries=5)
    assert sampler.sample(np.random.default_rng(0)) == ((2,) * 20,)


@pytest.mark.parametrize("tries", [1, 100])
def test_paths_under_several_limits_are_uniform(tries: int) -> None:
    other = CostTable("ms", 0.0, ((0.1, 0.3), (0.2, 0.0, 0.1), (0.0, 0.3)))
    limits = limited(8, Limit(other, at_most=0.6, at_least=0.3))
    legal = list(limits.enumerate())
    assert 0 < len(legal) < SPACE.count()
    paths = draws(UniformConstraintPaths(SPACE, limits, tries), 800)
    assert set(paths) == set(legal)
    assert chisquare([paths.count(a) for a in legal]).pvalue > 0.01


def test_tight_limits_do_not_favour_rare_prefixes() -> None:
    """Both are legal as often as they occur, though one first choice leaves a single completion."""
    space = SearchSpace((2, 8))
    table = CostTable("flops", 0, ((7, 0), tuple(range(8))))
    limits = Limits(space, (Limit(table, 7),))
    rng = np.random.default_rng(0)
    sampler = UniformConstraintPaths(space, limits, tries=1)
    firsts = [sampler.sample(rng)[0][0] for _ in range(900)]
    assert firsts.count(0) == pytest.approx(100, abs=40)


def test_the_generator_alone_determines_paths() -> None:
    for sampler in (UniformPaths(SPACE), UniformConstraintPaths(SPACE, limited(3), 2)):
        assert draws(sampler, 50) == draws(sampler, 50)


def test_descriptions_tell_samplers_apart() -> None:
    samplers = [
        UniformPaths(SPACE),
        UniformConstraintPaths(SPACE, limited(6)),
        UniformConstraintPaths(SPACE, limited(7)),
    ]
    assert len({sampler.terms() for sampler in samplers}) == 3


def test_impossible_constraints() -> None:
    with pytest.raises(InputError, match=r"cheapest architecture \[0, 0, 0\].*at most 1"):
        UniformConstraintPaths(SPACE, limited(1))
    with pytest.raises(InputError, match=r"limits: expected .*\[2, 3, 2\].*\[2, 3\]"):
        UniformConstraintPaths(SPACE, Limits(SearchSpace((2, 3))))
    with pytest.raises(InputError, match="tries"):
        UniformConstraintPaths(SPACE, limited(9), tries=0)
