"""Mutation, crossover, and generations that are complete whenever they can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import limited, problems, unconstrained

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.evolution import EA, PCFES, RandomSearch
from raynas.evolution.operators import (
    LARGEST_POPULATION,
    Breeding,
    breed,
    crossover,
    fill_random,
    mutate,
    pairs,
)
from raynas.evolution.strategy import Problem
from raynas.space import SearchSpace
from raynas.testing.strategies import legal

spaces = st.lists(st.integers(1, 5), min_size=1, max_size=8).map(lambda n: SearchSpace(tuple(n)))
seeds = st.integers(0, 2**32 - 1)


@given(space=spaces, seed=seeds, probability=st.floats(0, 1), frozen=st.integers(0, 8))
def test_mutation_stays_in_the_space_and_off_the_prefix(
    space: SearchSpace, seed: int, probability: float, frozen: int
) -> None:
    rng = np.random.default_rng(seed)
    frozen = min(frozen, space.blocks)
    parent = space.sample(rng)
    child = mutate(parent, space, probability, rng, frozen)
    assert space.validate(child) == child
    assert all(type(choice) is int for choice in child)
    assert child[:frozen] == parent[:frozen]


@given(space=spaces, seed=seeds)
def test_mutation_always_or_never(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    assert mutate(parent, space, 0.0, rng) == parent
    child = mutate(parent, space, 1.0, rng)
    for before, after, choices in zip(parent, child, space.choices, strict=True):
        assert (before != after) == (choices > 1)


def test_mutation_rate_and_choice() -> None:
    """Each block changes with the probability, to each other choice equally often."""
    space, rng = SearchSpace((4,) * 20), np.random.default_rng(0)
    parent = (2,) * 20
    children = np.array([mutate(parent, space, 0.1, rng) for _ in range(2000)])
    shares = [(children == choice).mean() for choice in range(4)]
    assert shares == pytest.approx([0.1 / 3, 0.1 / 3, 0.9, 0.1 / 3], abs=0.005)
    assert (children != 2).mean(axis=0) == pytest.approx(0.1, abs=0.04)


@given(space=spaces, seed=seeds, frozen=st.integers(0, 8))
def test_crossover_takes_each_block_from_a_parent(
    space: SearchSpace, seed: int, frozen: int
) -> None:
    rng = np.random.default_rng(seed)
    frozen = min(frozen, space.blocks)
    a, b = space.sample(rng), space.sample(rng)
    child = crossover(a, b, rng, frozen)
    assert all(type(choice) is int for choice in child)
    assert child[:frozen] == a[:frozen]
    assert all(c in pair for c, *pair in zip(child, a, b, strict=True))


def test_crossover_is_uniform_per_block() -> None:
    rng = np.random.default_rng(0)
    children = np.array([crossover((0,) * 10, (1,) * 10, rng) for _ in range(2000)])
    assert children.mean(axis=0) == pytest.approx(0.5, abs=0.05)
    assert len({tuple(child) for child in children.tolist()}) > 800


@given(problem=problems(), seed=seeds, count=st.integers(0, 40), data=st.data())
def test_fill_random_is_short_only_when_nothing_is_left(
    problem: Problem, seed: int, count: int, data: st.DataObject
) -> None:
    """Including prefixes without any legal completion."""
    rng = np.random.default_rng(seed)
    prefix = problem.space.sample(rng)[: data.draw(st.integers(0, problem.space.blocks))]
    every = sorted(legal(problem, prefix))
    seen = set(data.draw(st.lists(st.sampled_from(every), unique=True))) if every else set()
    before = set(seen)
    found, origins = fill_random(problem, prefix, count, seen, rng)
    assert seen == before
    assert len(set(found)) == len(found) == sum(origins.values())
    assert set(found) <= set(every) - seen
    assert len(found) == min(count, len(set(every) - seen))


@given(problem=problems(), seed=seeds, data=st.data())
def test_breed_is_short_only_when_nothing_is_left(
    problem: Problem, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    every = sorted(legal(problem))
    prefix = data.draw(st.sampled_from(every))[: data.draw(st.integers(0, problem.space.blocks))]
    behind = sorted(legal(problem, prefix))
    parents = data.draw(st.lists(st.sampled_from(behind), unique=True, max_size=5))
    seen = set(data.draw(st.lists(st.sampled_from(every), unique=True)))
    breeding = Breeding(data.draw(st.integers(1, 40)), mutation_probability=0.3)
    population, origins = breed(problem, prefix, parents, seen, breeding, rng)
    left = set(behind) - seen - set(parents)
    assert len(set(population)) == len(population) == sum(origins.values())
    assert set(population) <= left
    assert len(population) == min(breeding.population, len(left))
    assert origins["crossover"] <= breeding.children("crossover")
    assert origins["mutation"] <= breeding.children("mutation")


def test_breed_without_parents_is_random() -> None:
    _, origins = breed(
        unconstrained(4, 4, 4, 4), (), [], set(), Breeding(10), np.random.default_rng(0)
    )
    assert origins == {"crossover": 0, "mutation": 0, "random": 10, "enumeration": 0}


def test_breed_gives_each_operator_its_share() -> None:
    problem, rng = unconstrained(*(4,) * 12), np.random.default_rng(0)
    parents, _ = fill_random(problem, (), 5, set(), rng)
    breeding = Breeding(20, crossover=6, mutation=9, mutation_probability=0.2)
    population, origins = breed(problem, (), parents, set(), breeding, rng)
    assert origins == {"crossover": 6, "mutation": 9, "random": 5, "enumeration": 0}
    for child in population[:6]:
        assert all(choice in {p[block] for p in parents} for block, choice in enumerate(child))
    for child in population[6:15]:
        assert min(np.count_nonzero(np.subtract(child, p)) for p in parents) < 8


def test_pairs_are_different_parents() -> None:
    rng = np.random.default_rng(0)
    parents = [(0,), (1,), (2,)]
    drawn = list(pairs(parents, 200, rng))
    assert len(drawn) == 200
    assert set(drawn) == {(a, b) for a in parents for b in parents if a != b}
    assert list(pairs(parents[:1], 200, rng)) == list(pairs([], 200, rng)) == []


def test_breed_gives_up_operators_that_starve() -> None:
    """Equal parents behind the prefix, no mutation: every child is a parent."""
    problem = unconstrained(2, 4, 4)
    breeding = Breeding(6, mutation_probability=0.0)
    parents = [(1, 2, 3)]
    population, origins = breed(
        problem, (1,), parents, set(parents), breeding, np.random.default_rng(0)
    )
    assert origins["crossover"] == origins["mutation"] == 0
    assert len(population) == 6


def test_odd_population_is_half_and_half_and_one_random() -> None:
    breeding = Breeding(7)
    assert breeding.children("crossover") == breeding.children("mutation") == 3


def test_more_children_than_the_population() -> None:
    with pytest.raises(InputError, match=r"crossover \+ mutation: .* population of 10, got 6 \+ 5"):
        Breeding(10, crossover=6)


def test_tight_budget_in_a_large_space() -> None:
    """One legal architecture in 4 to the power of 20 is found at once."""
    table = CostTable("flops", 7, ((1_000_003, 999_999, 5_000_000, 1_000_001),) * 20)
    problem = limited(table, 7 + 20 * 999_999)
    found, _ = fill_random(problem, (), 50, set(), np.random.default_rng(0))
    assert found == ((1,) * 20,)


def test_absurd_populations_are_refused_at_once() -> None:
    problem = unconstrained(2, 2)
    for attempt in (
        lambda: Breeding(10**9),
        lambda: fill_random(problem, (), 10**9, set(), np.random.default_rng(0)),
        lambda: RandomSearch(population=10**9),
        lambda: EA(population=10**9),
        lambda: PCFES(population=10**9),
    ):
        with pytest.raises(InputError, match="population: expected at most 1,000,000, got 1,000,"):
            attempt()


def test_large_populations_are_bounded_by_what_is_legal_and_new() -> None:
    """A million wanted, six legal: no operator tries ten million times."""
    problem = limited(CostTable("flops", 0, ((0, 1, 5, 5),) * 10), 1)
    population = LARGEST_POPULATION
    found, _ = fill_random(problem, (), population, {(0,) * 10}, np.random.default_rng(0))
    assert len(found) == 10
    again, origins = breed(problem, (), found, set(found), Breeding(population), rng_of(0))
    assert again == ((0,) * 10,)
    assert sum(origins.values()) == 1


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def several_limits() -> Problem:
    """Three costs, all of which exclude something; 60 legal architectures or so."""
    rng = np.random.default_rng(2)
    space = SearchSpace((3,) * 6)
    limits = []
    for name, sides in (("a", (330, None)), ("b", (None, 220)), ("ms", (31.0, 22.0))):
        scale = 10 if name == "ms" else 1
        rows = rng.integers(0, 99, (6, 3))
        blocks = tuple(tuple(int(c) / scale if scale > 1 else int(c) for c in r) for r in rows)
        limits.append(Limit(CostTable(name, 0, blocks), *sides))
    return Problem(space, Limits(space, tuple(limits)))


@pytest.mark.parametrize("count", [10, 1000])
def test_generations_under_several_limits_are_complete(count: int) -> None:
    problem, rng = several_limits(), rng_of(0)
    every = legal(problem)
    assert 20 < len(every) < 600
    found, _ = fill_random(problem, (), count, set(), rng)
    assert len(found) == min(count, len(every))
    assert set(found) <= every
    population, _ = breed(problem, found[0][:2], [found[0]], set(), Breeding(count), rng)
    behind = legal(problem, found[0][:2]) - {found[0]}
    assert len(population) == min(count, len(behind))
    assert set(population) <= behind
