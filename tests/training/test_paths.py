"""Path samplers: the right distribution, and always within the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from raynas.costs import Budget, CostTable
from raynas.errors import InputError
from raynas.space import SearchSpace
from raynas.training import PathSampler, UniformConstraintPaths, UniformPaths

SPACE = SearchSpace((2, 3, 2))
TABLE = CostTable("flops", 1, ((0, 4), (1, 2, 3), (0, 2)))


def draws(sampler: PathSampler, count: int = 2400) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    steps = [sampler.sample(rng) for _ in range(count)]
    assert {len(step) for step in steps} == {1}
    return [path for (path,) in steps]


def test_uniform_paths_are_uniform() -> None:
    paths = draws(UniformPaths(SPACE))
    assert chisquare([paths.count(a) for a in SPACE.enumerate()]).pvalue > 0.01


def test_constrained_paths_are_uniform_over_the_legal_ones() -> None:
    budget = Budget(TABLE, 6)
    legal = list(budget.enumerate(()))
    assert 0 < len(legal) < SPACE.count()
    paths = draws(UniformConstraintPaths(SPACE, budget))
    assert set(paths) == set(legal)
    assert chisquare([paths.count(a) for a in legal]).pvalue > 0.01


@given(st.integers(2, 11), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_constrained_paths_are_legal_however_few_the_tries(
    at_most: int, tries: int, seed: int
) -> None:
    budget = Budget(TABLE, at_most)
    (path,) = UniformConstraintPaths(SPACE, budget, tries).sample(np.random.default_rng(seed))
    assert budget.allows(path)
    assert SPACE.validate(path) == path


def test_a_single_legal_path_in_a_huge_space_is_found() -> None:
    space = SearchSpace((4,) * 20)
    table = CostTable("flops", 0, ((1, 1, 0, 1),) * 20)
    sampler = UniformConstraintPaths(space, Budget(table, 0), tries=5)
    assert sampler.sample(np.random.default_rng(0)) == ((2,) * 20,)


def test_the_generator_alone_determines_paths() -> None:
    for sampler in (UniformPaths(SPACE), UniformConstraintPaths(SPACE, Budget(TABLE, 3), 2)):
        assert draws(sampler, 50) == draws(sampler, 50)


def test_descriptions_tell_samplers_apart() -> None:
    samplers = [
        UniformPaths(SPACE),
        UniformConstraintPaths(SPACE, Budget(TABLE, 6)),
        UniformConstraintPaths(SPACE, Budget(TABLE, 7)),
    ]
    assert len({sampler.describe() for sampler in samplers}) == 3


def test_impossible_constraints() -> None:
    with pytest.raises(InputError, match=r"cheapest architecture \[0, 0, 0\].*at most 1"):
        UniformConstraintPaths(SPACE, Budget(TABLE, 1))
    with pytest.raises(InputError, match="tries"):
        UniformConstraintPaths(SPACE, Budget(TABLE, 9), tries=0)
