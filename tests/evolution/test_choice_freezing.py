"""CF-ES and PCF-ES: when they freeze, what a freeze changes, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import limited, problems, unconstrained

from raynas.costs import CostTable
from raynas.errors import InputError
from raynas.evolution import CFES, EA, PCFES, Problem, Proposal, Score, State, Strategy
from raynas.evolution.freezing import NO_PARENT, NO_SUFFIX
from raynas.evolution.strategy import ALL_FROZEN
from raynas.space import Architecture
from raynas.testing.strategies import legal
from raynas.testing.strategies import pretended_score as evaluate
from raynas.testing.strategies import run_strategy as run

freezing_strategies = pytest.mark.parametrize("kind", [CFES, PCFES])


def told(
    population: list[Architecture], top: list[Architecture], prefix: Architecture = ()
) -> State:
    """A state in the middle of a search."""
    return State(
        generation=4,
        prefix=prefix,
        population=tuple(population),
        top=tuple(Score(a, {"top1": 0.9 - i / 100}, 0.5) for i, a in enumerate(top)),
        seen=frozenset((*population, *top)),
    )


def agreeing(majority: Architecture, blocks: int, frozen: int = 0) -> list[Architecture]:
    """Ten distinct architectures of five choices a block.

    Eight of them agree on the first blocks, all ten on the frozen ones; the choices of every other
    block are equally frequent.
    """
    population = []
    for n in range(10):
        dissent = max(0, n - 7)
        first = tuple((c + dissent * (b >= frozen)) % 5 for b, c in enumerate(majority))
        rest = range(blocks - len(majority))
        population.append(first + tuple((n * (b % 4 + 1) + n // 5 * (b > 0)) % 5 for b in rest))
    assert len(set(population)) == 10
    return population


def ask(strategy: Strategy, problem: Problem, state: State) -> Proposal:
    """What the strategy proposes with a fixed generator."""
    return strategy.ask(problem, state, np.random.default_rng(7))


@freezing_strategies
def test_freeze_rescores_the_overwritten_parents(kind: type) -> None:
    """Eight of ten agree on two blocks of five; the Top-K takes their choices."""
    problem = unconstrained(*(5,) * 5)
    top = [(4, 4, 4, 4, 4), (1, 2, 4, 4, 4), (3, 2, 0, 0, 1)]
    state = told(agreeing((1, 2), 5), top)
    strategy = kind(population=10, top_k=3)
    proposal = ask(strategy, problem, state)
    assert proposal.prefix == (1, 2)
    assert proposal.rescored == ((1, 2, 4, 4, 4), (1, 2, 0, 0, 1))
    assert len(proposal.population) == 10
    assert all(a[:2] == (1, 2) for a in proposal.population)
    assert state.seen.isdisjoint(proposal.population)
    scores = [evaluate(a) for a in (*proposal.rescored, *proposal.population)]
    after = strategy.tell(state, proposal, scores)
    assert after.earlier == (state.top[0],)
    assert after.seen == state.seen.union(proposal.rescored, proposal.population)
    assert set(after.top) <= set(scores)
    assert set(strategy.finalists(after)) == {(4, 4, 4, 4, 4), *(s.architecture for s in after.top)}


def test_only_pcfes_goes_on_freezing() -> None:
    problem = unconstrained(*(5,) * 6)
    population = agreeing((1, 2, 3, 4), 6, frozen=1)
    state = told(population, population[:3], prefix=(1,))
    assert ask(CFES(population=10), problem, state).prefix == (1,)
    for monitor, prefix in ((1, (1, 2)), (2, (1, 2, 3)), (3, (1, 2, 3, 4)), (5, (1, 2, 3, 4))):
        proposal = ask(PCFES(population=10, monitor=monitor), problem, state)
        assert proposal.prefix == prefix
        assert proposal.rescored


@freezing_strategies
def test_census_of_the_top_k(kind: type) -> None:
    problem = unconstrained(*(5,) * 5)
    state = told(agreeing((), 5), agreeing((2, 2), 5))
    assert ask(kind(population=10), problem, state).prefix == ()
    assert ask(kind(population=10, census="top_k"), problem, state).prefix == (2, 2)


@freezing_strategies
@pytest.mark.parametrize("generations", [20, 5])
def test_all_blocks_frozen_ends_the_search(kind: type, generations: int) -> None:
    """Also where the generation limit would have."""
    problem = unconstrained(3, 3, 3)
    state = told([(1, 1, 1)] * 9 + [(0, 0, 0)], [(0, 1, 1), (1, 1, 2)])
    strategy = kind(population=10, generations=generations)
    proposal = ask(strategy, problem, state)
    assert proposal.prefix == (1, 1, 1)
    assert (proposal.population, proposal.rescored) == ((), ())
    after = strategy.tell(state, proposal, [])
    assert after.finished == ALL_FROZEN
    assert after.top == ()
    assert strategy.finalists(after) == ((0, 1, 1), (1, 1, 2), (1, 1, 1))


@freezing_strategies
@pytest.mark.parametrize("generation", [0, 1])
def test_random_generation_decides_nothing(kind: type, generation: int) -> None:
    problem = unconstrained(*(5,) * 5)
    population = agreeing((1, 2), 5)
    state = replace(told(population, population[:3]), generation=generation)
    assert ask(kind(population=10), problem, state).prefix == ()
    assert ask(kind(population=10), problem, replace(state, generation=2)).prefix == (1, 2)


@freezing_strategies
def test_generation_that_came_up_short_decides_nothing(kind: type) -> None:
    problem = unconstrained(2, 2)
    state = told([(1, 1)], [(0, 0), (0, 1)])
    state = replace(state, seen=frozenset(legal(problem)))
    proposal = ask(kind(population=2), problem, state)
    assert (proposal.prefix, proposal.finished) == ((), "legal architectures exhausted")


def refusing_problem(at_most: int) -> Problem:
    """The first choice of blocks 0 and 1 costs 1, and so does all but the first of block 2."""
    blocks = ((1, 0, 0), (1, 0, 0), (0,) + (1,) * 9)
    return limited(CostTable("flops", 0, blocks), at_most)


POPULATION = [
    *((0, 1 + k % 2, k) for k in range(5)),
    *((1 + k % 2, 0, k) for k in range(5, 10)),
]
"""Choice 0 has 50 % in blocks 0 and 1, and every other choice less; block 2 is divided."""


@freezing_strategies
@pytest.mark.parametrize(
    ("at_most", "top", "reason"),
    [
        (1, [(0, 1, 0), (1, 0, 0)], NO_SUFFIX),
        (2, [(0, 1, 3), (1, 0, 5)], NO_PARENT),
    ],
)
def test_refused_freeze_goes_on_as_plain_evolution(
    kind: type, at_most: int, top: list[Architecture], reason: str
) -> None:
    problem, state = refusing_problem(at_most), told(POPULATION, top)
    assert set(top) <= legal(problem)
    proposal = ask(kind(population=10, threshold=0.4), problem, state)
    assert proposal.refused == reason
    assert proposal.population
    assert replace(proposal, refused=None) == ask(EA(population=10), problem, state)


@freezing_strategies
def test_one_legal_parent_suffices(kind: type) -> None:
    problem, state = refusing_problem(2), told(POPULATION, [(0, 1, 3), (1, 0, 0)])
    proposal = ask(kind(population=10, threshold=0.4), problem, state)
    assert proposal.refused is None
    assert (proposal.prefix, proposal.rescored) == ((0, 0), ((0, 0, 0),))
    assert proposal.population == ()
    assert proposal.finished is None


@freezing_strategies
def test_evolution_until_the_first_freeze(kind: type) -> None:
    """The same seed gives the generations of `EA` before it."""
    problem = unconstrained(*(4,) * 8)
    fields = {"population": 20, "generations": 10, "top_k": 5}
    frozen, plain = run(kind(threshold=0.5, **fields), problem), run(EA(**fields), problem)
    first = next(i for i, step in enumerate(frozen) if step.proposal.prefix)
    assert first >= 2
    assert [s.proposal for s in frozen[:first]] == [s.proposal for s in plain[:first]]


@given(
    problem=problems(),
    seed=st.integers(0, 99),
    monitor=st.integers(1, 3),
    threshold=st.floats(0.3, 0.8),
)
def test_frozen_blocks_stay_frozen(
    problem: Problem, seed: int, monitor: int, threshold: float
) -> None:
    strategy = PCFES(8, 10, 3, threshold=threshold, monitor=monitor)
    steps = run(strategy, problem, seed)
    for before, after in pairwise(steps):
        old, new = before.after.prefix, after.after.prefix
        assert new[: len(old)] == old
        assert not old or len(new) - len(old) <= monitor
    single = run(CFES(8, 10, 3, threshold=threshold), problem, seed)
    assert len({step.after.prefix for step in single} - {()}) <= 1


@freezing_strategies
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("threshold", 0.0),
        ("threshold", 1.0),
        ("threshold", 70.0),
        ("threshold", float("nan")),
        ("block_ratio", 1.0),
        ("block_ratio", -0.1),
        ("census", "parents"),
    ],
)
def test_freezing_out_of_range(kind: type, argument: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{argument}: expected"):
        kind(**{argument: value})


def test_monitor_out_of_range() -> None:
    with pytest.raises(InputError, match=r"^monitor: expected at least 1, got 0"):
        PCFES(monitor=0)
