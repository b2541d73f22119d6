"""What every strategy promises, checked generation by generation against naive oracles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searching import limited, problems, unconstrained

from raynas.costs import CostTable
from raynas.errors import InputError
from raynas.evolution import CFES, EA, NSGA2, PCFES, RandomSearch, Score, Strategy
from raynas.evolution.strategy import ALL_FROZEN, EXHAUSTED, GENERATION_LIMIT
from raynas.testing.strategies import additive_value as additive
from raynas.testing.strategies import check_strategy, legal
from raynas.testing.strategies import pretended_score as evaluate
from raynas.testing.strategies import run_strategy as run

KINDS = [EA, RandomSearch, CFES, PCFES, NSGA2]
every_strategy = pytest.mark.parametrize("kind", KINDS)


@st.composite
def settings_of(draw: st.DrawFn, kind: type[Strategy]) -> Strategy:
    """A strategy with settings from all over their ranges."""
    population = draw(st.integers(2, 6) | st.integers(1, 30))
    values: dict = {
        "population": population,
        "generations": draw(st.integers(1, 8) | st.just(8)),
        "top_k": draw(st.integers(1, 6)),
    }
    if kind is NSGA2:
        values |= {
            "crossover_probability": draw(st.floats(0, 1)),
            "mutation_probability": draw(st.floats(0, 1)),
        }
    elif kind is not RandomSearch:
        crossover = draw(st.none() | st.integers(0, population - population // 2))
        values |= {"crossover": crossover, "mutation_probability": draw(st.floats(0, 1))}
    if kind in (CFES, PCFES):
        values |= {
            "threshold": draw(st.sampled_from([0.3, 0.5]) | st.floats(0.2, 0.9)),
            "block_ratio": draw(st.floats(0, 0.9)),
            "census": draw(st.sampled_from(["population", "top_k"])),
        }
    if kind is PCFES:
        values["monitor"] = draw(st.integers(1, 4))
    return kind(**values)


@every_strategy
@given(data=st.data())
@settings(max_examples=100)
def test_contract(kind: type[Strategy], data: st.DataObject) -> None:
    strategy = data.draw(settings_of(kind))
    problem = data.draw(problems())
    check_strategy(strategy, problem, seed=data.draw(st.integers(0, 3)))


@every_strategy
def test_best_candidate_is_a_finalist(kind: type[Strategy]) -> None:
    problem = unconstrained(3, 3, 3, 3, 3, 3)
    strategy = kind(population=20, generations=8, top_k=5)
    steps = run(strategy, problem, evaluate=lambda a: Score(a, {"top1": additive(a)}, 0.0))
    best = max((score for step in steps for score in step.scores), key=lambda score: score.top1)
    assert best.architecture in strategy.finalists(steps[-1].after)


@every_strategy
@pytest.mark.parametrize("population", [1, 7, 8, 9, 1000])
def test_search_what_there_is(kind: type[Strategy], population: int) -> None:
    """Random search and evolution see all 8 architectures, whatever the population."""
    problem = unconstrained(2, 2, 2)
    steps = run(kind(population=population, generations=20, top_k=3), problem)
    if kind in (EA, RandomSearch, NSGA2) or population > 8:
        assert steps[-1].after.seen == legal(problem)
        assert steps[-1].after.finished == EXHAUSTED
    assert steps[-1].after.finished in (EXHAUSTED, ALL_FROZEN)


@every_strategy
def test_one_legal_architecture(kind: type[Strategy]) -> None:
    table = CostTable("flops", 3, ((5, 1), (2, 9), (4, 5)))
    problem = limited(table, 10)
    steps = run(kind(), problem)
    assert [step.proposal.population for step in steps] == [((1, 0, 0),), ()]
    assert steps[-1].after.finished == EXHAUSTED


@every_strategy
def test_infeasible_problem_names_the_cheapest(kind: type[Strategy]) -> None:
    table = CostTable("flops", 3, ((5, 1), (2, 9)))
    with pytest.raises(InputError, match=r"\[1, 0\]"):
        run(kind(), limited(table, 5))


def history(kind: type[Strategy]) -> str:
    """A whole search as text."""
    table = CostTable("flops", 0, tuple((1, 2, 3, 4) for _ in range(8)))
    problem = limited(table, 19)
    steps = run(kind(population=16, generations=8, top_k=4), problem, seed=5)
    return json.dumps([asdict(step.proposal) for step in steps])


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_deterministic_in_a_fresh_process(hash_seed: str) -> None:
    script = "import test_strategy_contract as t\nfor kind in t.KINDS: print(t.history(kind))\n"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.splitlines() == [history(kind) for kind in KINDS]


@every_strategy
def test_seed_matters(kind: type[Strategy]) -> None:
    problem = unconstrained(*(4,) * 8)
    strategy = kind(population=16, generations=1, top_k=4)
    assert run(strategy, problem, seed=0)[0].proposal != run(strategy, problem, seed=1)[0].proposal


@every_strategy
def test_replay_from_recorded_scores(kind: type[Strategy]) -> None:
    """A resume tells the recorded scores and gets the same proposals, also after the cut."""
    problem = unconstrained(*(3,) * 7)
    strategy = kind(population=20, generations=9, top_k=5)
    steps = run(strategy, problem, seed=3)
    recorded = json.loads(json.dumps([[asdict(s) for s in step.scores] for step in steps]))
    state = strategy.start()
    for step, scores in zip(steps, recorded, strict=True):
        asked = strategy.ask(problem, state, np.random.default_rng([3, state.generation]))
        assert asked == step.proposal
        told = [Score(**{**s, "architecture": tuple(s["architecture"])}) for s in scores]
        state = strategy.tell(state, asked, told)
    assert state == steps[-1].after


@every_strategy
def test_tell_wants_every_score_in_order(kind: type[Strategy]) -> None:
    strategy, problem = kind(population=4, generations=2, top_k=2), unconstrained(3, 3, 3)
    state = strategy.start()
    proposal = strategy.ask(problem, state, np.random.default_rng(0))
    scores = problem.priced([evaluate(a) for a in proposal.population])
    for wrong in (scores[:-1], scores[::-1], [], [*scores, scores[0]], [scores[0], *scores[:-1]]):
        with pytest.raises(InputError, match="scores: expected 4 scores"):
            strategy.tell(state, proposal, wrong)
    assert strategy.tell(state, proposal, scores).generation == 1


@every_strategy
def test_tell_after_the_end(kind: type[Strategy]) -> None:
    strategy, problem = kind(population=4, generations=1, top_k=2), unconstrained(3, 3, 3)
    (step,) = run(strategy, problem)
    assert step.after.finished == GENERATION_LIMIT
    with pytest.raises(InputError, match="generation limit"):
        strategy.tell(step.after, step.proposal, step.scores)


@every_strategy
def test_not_finite_ranks_last(kind: type[Strategy]) -> None:
    problem = unconstrained(*(3,) * 6)
    strategy = kind(population=20, generations=6, top_k=5)

    def broken(a: tuple[int, ...]) -> Score:
        return evaluate(a) if a[0] else Score(a, {"top1": float("nan")}, float("nan"), finite=False)

    steps = run(strategy, problem, evaluate=broken)
    assert any(not score.finite for step in steps for score in step.scores)
    assert all(score.finite for step in steps for score in step.after.top)


@every_strategy
def test_settings_rebuild_the_strategy(kind: type[Strategy]) -> None:
    strategy = kind(population=12, generations=3, top_k=2)
    values = json.loads(json.dumps(strategy.settings()))
    assert values.pop("strategy") == kind.__name__
    assert kind(**values) == strategy


@pytest.mark.parametrize("kind", [EA, CFES, PCFES])
def test_evolution_beats_random_search(kind: type[Strategy]) -> None:
    """On an additive problem, averaged over seeds, with no more evaluations."""
    problem = unconstrained(*(4,) * 10)

    def best(kind: type[Strategy], seed: int) -> float:
        strategy = kind(population=20, generations=10, top_k=5)
        end = run(strategy, problem, seed, lambda a: Score(a, {"top1": additive(a)}, 0.0))[-1].after
        return max(map(additive, strategy.finalists(end)))

    evolved, drawn = (np.mean([best(k, seed) for seed in range(8)]) for k in (kind, RandomSearch))
    assert evolved > drawn + 0.02


def test_random_search_evaluates_as_much_as_evolution() -> None:
    problem = unconstrained(*(4,) * 8)
    sizes = [
        [len(step.scores) for step in run(kind(population=15, generations=4, top_k=3), problem)]
        for kind in (EA, RandomSearch)
    ]
    assert sizes[0] == sizes[1] == [15] * 4
