"""The contract kits accept what keeps the contract, and name what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import raynas
from raynas.evolution import Problem, Proposal, State, Strategy
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.population.interface import CandidateEvaluator
from raynas.score import Score
from raynas.space import Architecture, SearchSpace
from raynas.testing import (
    check_evaluator,
    check_pool,
    check_strategy,
    pretended_score,
    small_data,
    small_supernet,
)
from raynas.workers.pool import LocalPool

SPACE = SearchSpace((3, 2, 4))
SMALL: dict[str, Any] = {"population": 6, "generations": 4, "top_k": 3}


@dataclass(frozen=True)
class Faulty(raynas.RandomSearch):
    """Random search whose proposals are changed before they are given away."""

    change: Callable[[Proposal, State], Proposal] = lambda proposal, state: proposal

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        return self.change(super().ask(problem, state, rng), state)

    def settings(self) -> dict[str, Any]:
        return {"strategy": "faulty"}


@pytest.mark.parametrize(
    "strategy",
    [
        raynas.EA(**SMALL),
        raynas.RandomSearch(**SMALL),
        raynas.CFES(**SMALL, threshold=0.4),
        raynas.PCFES(**SMALL, threshold=0.4, monitor=2),
        Faulty(**SMALL),
    ],
)
def test_strategies_of_this_library_keep_the_contract(strategy: Strategy) -> None:
    assert len(check_strategy(strategy)) >= 1


def twice(proposal: Proposal, state: State) -> Proposal:
    return replace(
        proposal,
        population=(*proposal.population, *proposal.population[:1]),
        origins={"random": len(proposal.population) + 1},
    )


def known(proposal: Proposal, state: State) -> Proposal:
    old = tuple(sorted(state.seen))[:1]
    return replace(
        proposal,
        population=(*proposal.population, *old),
        origins={"random": len(proposal.population) + len(old)},
    )


def short(proposal: Proposal, state: State) -> Proposal:
    kept = proposal.population[:-1]
    return replace(proposal, population=kept, origins={"random": len(kept)})


def impure(proposal: Proposal, state: State) -> Proposal:
    order = np.random.permutation(len(proposal.population))  # noqa: NPY002
    return replace(proposal, population=tuple(proposal.population[i] for i in order))


def miscounted(proposal: Proposal, state: State) -> Proposal:
    return replace(proposal, origins={"random": 99})


def ended(proposal: Proposal, state: State) -> Proposal:
    return replace(proposal, finished="bored") if state.generation == 1 else proposal


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (twice, "proposed twice"),
        (known, "scored before"),
        (short, "a short generation"),
        (impure, "asked again"),
        (miscounted, "origins of 99"),
        (ended, "ended for another reason: bored"),
    ],
)
def test_a_broken_promise_of_a_strategy_is_named(
    change: Callable[[Proposal, State], Proposal], broken: str
) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_strategy(Faulty(**SMALL, change=change))


def test_a_strategy_that_forgets_its_best_is_named() -> None:
    class Forgetful(raynas.RandomSearch):
        def tell(self, state: State, proposal: Proposal, scores: Sequence[Score]) -> State:
            told = super().tell(state, proposal, scores)
            return replace(told, top=told.top[1:])

    with pytest.raises(AssertionError, match="the Top-K are not the best"):
        check_strategy(Forgetful(**SMALL))


class Pretended(CandidateEvaluator):
    """Scores that are pretended, and may be changed before they are given away."""

    def __init__(self, change: Callable[[list[Score]], list[Score]] = lambda scores: scores):
        self._change = change

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        return self._change([pretended_score(each) for each in architectures])


def test_evaluators_keep_the_contract() -> None:
    check_evaluator(Pretended(), SPACE)
    supernet, data = small_supernet(blocks=3, choices=2), small_data()
    settings = raynas.Evaluation(
        device="cpu", bits=8, sampling="disagreement", unfrozen_sample_rate=0.7, sample_rate=0.5
    )
    splits = Splits(data.calibration, data.validation, data.test)
    evaluator = PopulationEvaluator(LocalPool(supernet, settings), splits, settings, seed=0)
    check_evaluator(evaluator, supernet.space)


def drifting() -> Callable[[list[Score]], list[Score]]:
    """Losses that grow with every call."""
    calls = iter(range(10**6))
    return lambda scores: [replace(each, loss=each.loss + next(calls)) for each in scores]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda scores: scores[::-1], "scores of"),
        (lambda scores: scores[1:], "scores of"),
        (drifting(), "in another order"),
        (lambda scores: [replace(s, loss=s.loss + len(scores)) for s in scores], "by itself"),
        (
            lambda scores: [
                replace(s, objectives={f"value {i}": 1.0}) for i, s in enumerate(scores)
            ],
            "different objectives",
        ),
    ],
)
def test_a_broken_promise_of_an_evaluator_is_named(
    change: Callable[[list[Score]], list[Score]], broken: str
) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_evaluator(Pretended(change), SPACE)


class Shuffled:
    """A pool that gives results back in another order."""

    def __init__(self, pool: LocalPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def run(self, calls: Sequence[Any], *, keep: bool = False) -> list[Any]:
        return self._pool.run(calls, keep=keep)[::-1]


def test_a_pool_keeps_the_contract_or_is_named() -> None:
    supernet, data = small_supernet(blocks=3, choices=3), small_data()
    pool = LocalPool(supernet, raynas.Evaluation(device="cpu", bits=8))
    check_pool(pool, supernet, data)
    broken: Any = Shuffled(pool)
    with pytest.raises(AssertionError, match="in the order of the calls"):
        check_pool(broken, supernet, data)
