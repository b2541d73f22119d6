"""Fronts by naive comparison, and the search for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import limited, unconstrained

import raynas
from raynas.costs import CostTable
from raynas.errors import InputError
from raynas.evolution import EA, NSGA2, Score, hypervolume
from raynas.evolution.fronts import NonDominated, crowding, front_of, ranks_of
from raynas.testing import small_data, small_supernet
from raynas.testing.strategies import additive_value, run_strategy

COSTS = ("flops", "params")


def scored(number: int, value: float, flops: float, params: float = 0) -> Score:
    return Score((number,), {"top1": value}, 0.0, costs={"flops": flops, "params": params})


def dominates(a: Score, b: Score) -> bool:
    mine = (-a.value, a.costs["flops"], a.costs["params"])
    theirs = (-b.value, b.costs["flops"], b.costs["params"])
    return mine != theirs and all(x <= y for x, y in zip(mine, theirs, strict=True))


small = st.integers(0, 4)
populations = st.lists(st.tuples(small, small, small), min_size=1, max_size=24).map(
    lambda rows: [scored(i, v / 4, f, p) for i, (v, f, p) in enumerate(rows)]
)


@given(populations)
def test_ranks_are_those_of_peeling_fronts_off(scores: list[Score]) -> None:
    left, rank, expected = list(scores), 0, {}
    while left:
        front = [a for a in left if not any(dominates(b, a) for b in left)]
        expected |= {score.architecture: rank for score in front}
        left = [score for score in left if score not in front]
        rank += 1
    assert ranks_of(scores, COSTS) == [expected[score.architecture] for score in scores]


@given(populations, st.integers(1, 24))
def test_survivors_are_never_dominated_by_who_does_not_survive(
    scores: list[Score], count: int
) -> None:
    kept = NonDominated(COSTS)(scores, count)
    assert len(kept) == min(count, len(scores))
    lost = [score for score in scores if score not in kept]
    assert not any(dominates(a, b) for a in lost for b in kept)
    assert kept[0].value == max(score.value for score in front_of(scores, COSTS))


@given(populations)
def test_the_front_is_whoever_nobody_dominates(scores: list[Score]) -> None:
    front = front_of(scores, COSTS)
    assert set(front) == {a for a in scores if not any(dominates(b, a) for b in scores)}
    assert [score.value for score in front] == sorted((s.value for s in front), reverse=True)


def test_crowding_by_hand() -> None:
    points = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    assert crowding(points) == [inf, 3 / 4 + 3 / 4, 3 / 4 + 3 / 4, inf]
    points = np.array([[0.0, 10.0], [1.0, 4.0], [2.0, 2.0], [10.0, 0.0]])
    assert crowding(points) == [inf, 0.2 + 0.8, 0.9 + 0.4, inf]
    assert crowding(np.zeros((0, 2))) == []
    assert crowding(np.ones((3, 2))) == [0.0] * 3
    assert crowding(np.ones((1, 2))) == [0.0]


def test_the_roomier_survive_within_a_rank() -> None:
    scores = [scored(i, v, f) for i, (v, f) in enumerate([(0.9, 10), (0.8, 4), (0.7, 2), (0.1, 0)])]
    kept = NonDominated(("flops",))(scores, 3)
    assert [score.architecture for score in kept] == [(0,), (3,), (2,)]
    beside = NonDominated(COSTS)(scores, 3)
    assert beside == kept, "a cost that is the same for all changes nothing"


def test_scores_that_are_not_finite_come_last() -> None:
    failed = Score((9,), {"top1": nan}, inf, finite=False, costs={"flops": 0, "params": 0})
    scores = [failed, scored(0, 0.1, 9)]
    assert NonDominated(("flops",))(scores, 2) == (scores[1], failed)
    assert front_of(scores, ("flops",)) == (scores[1],)
    assert front_of([failed], ("flops",)) == ()
    assert hypervolume([failed], ("flops",), (0.0, 10)) == 0.0


def test_a_search_of_nothing_but_failures_has_a_finalist() -> None:
    problem = unconstrained(2, 2)

    def fail(a: tuple[int, ...]) -> Score:
        return Score(a, {"top1": nan}, inf, finite=False)

    strategy = NSGA2(population=4, generations=2)
    end = run_strategy(strategy, problem, 0, fail)[-1].after
    assert strategy.finalists(end) == ((0, 0),)
    assert [each.architecture for each in strategy.front(end.top)] == [(0, 0)]


def test_hypervolume_by_hand() -> None:
    scores = [scored(0, 0.5, 2), scored(1, 1.0, 6), scored(2, 0.4, 5)]
    assert hypervolume(scores, ("flops",), (0.0, 10)) == pytest.approx(0.5 * 8 + 0.5 * 4)


@pytest.mark.parametrize("reference", [(0.0,), (0.0, 10, 1), (0.0, nan), (0.0, inf), ("0", 1), 7])
def test_a_reference_without_a_number_for_each_objective_is_refused(reference: Any) -> None:
    with pytest.raises(InputError, match=r"^reference: expected finite numbers"):
        hypervolume([scored(0, 0.5, 2)], ("flops",), reference)


def test_the_search_finds_the_front_of_an_additive_problem() -> None:
    """Every choice that is better costs more, so that the front is long."""
    problem = unconstrained(*(3,) * 6)
    better = {a: sum(c * (b + 1) for b, c in enumerate(a)) / 42 for a in problem.space.enumerate()}

    def evaluate(a: tuple[int, ...]) -> Score:
        return Score(a, {"top1": better[a]}, 0.0)

    every = problem.priced([evaluate(a) for a in problem.space.enumerate()])
    true = hypervolume(every, ("flops",), (-0.01, 14))
    strategy = NSGA2(population=20, generations=10, top_k=20)
    end = run_strategy(strategy, problem, 0, evaluate)[-1].after
    found = problem.priced([evaluate(a) for a in strategy.finalists(end)])
    # Points that are equally good are as good as one, so that the volume is compared.
    assert hypervolume(found, ("flops",), (-0.01, 14)) > 0.97 * true
    assert set(found) == set(front_of(end.top, ("flops",)))
    ea = EA(population=20, generations=10, top_k=20)
    evolved = run_strategy(ea, problem, 0, evaluate)[-1].after
    assert hypervolume(evolved.top, ("flops",), (-0.01, 14)) < hypervolume(
        found, ("flops",), (-0.01, 14)
    )


@pytest.mark.parametrize("top_k", [2, 8])
def test_the_front_is_that_of_all_scores_however_few_survive(top_k: int) -> None:
    """Every choice that is better costs more, so that whatever is scored belongs to the front."""
    problem = unconstrained(*(3,) * 4)
    strategy = NSGA2(population=8, generations=5, top_k=top_k)
    steps = run_strategy(strategy, problem, 0, lambda a: Score(a, {"top1": sum(a) / 8}, 0.0))
    every = [score for step in steps for score in step.scores]
    assert set(strategy.finalists(steps[-1].after)) == {
        score.architecture
        for score in every
        if not any(
            other.value >= score.value
            and other.costs["flops"] <= score.costs["flops"]
            and (other.value, other.costs["flops"]) != (score.value, score.costs["flops"])
            for other in every
        )
    }
    assert len(strategy.finalists(steps[-1].after)) > top_k
    assert {len(step.after.top) for step in steps} == {top_k}


def test_result_has_the_whole_front_and_a_resumed_search_too(tmp_path: Path) -> None:
    scene = small_supernet(blocks=2), small_data()
    rising = [[0.0, 1.0, 2.0, 3.0]] * 2
    more = raynas.Cost(rising, "more")
    less = raynas.Cost([block[::-1] for block in rising], "less")
    options: dict[str, Any] = {
        "strategy": NSGA2(population=6, generations=2, top_k=2, costs=("more", "less")),
        "constraint": [more, less],
        "workers": 0,
        "evaluation": raynas.Evaluation(device="cpu"),
        "run_dir": tmp_path / "run",
    }
    result = raynas.search(*scene, **options)
    # What costs more of the one costs less of the other: the best of each sum belongs to it.
    assert len(result.front) > 2
    records = (tmp_path / "run" / "generations.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "generations.jsonl").write_bytes(b"".join(records[:1]))
    again = raynas.search(*scene, **options, resume=True)
    assert [each.architecture for each in again.front] == [e.architecture for e in result.front]


def test_it_begins_with_what_it_is_given() -> None:
    table = CostTable("flops", 0, ((0, 1, 2), (0, 1, 2)))
    problem = limited(table, 3)
    pool = ((2, 2), (0, 1), (1, 1), (0, 1))
    strategy = NSGA2(population=4, generations=2, top_k=4, initial=pool)
    proposal = strategy.ask(problem, strategy.start(), np.random.default_rng(0))
    assert proposal.population[:2] == ((0, 1), (1, 1))
    assert len(proposal.population) == 4
    assert proposal.origins["initial"] == 2


def test_no_more_survive_than_are_bred() -> None:
    strategy = NSGA2(population=4, generations=4)
    steps = run_strategy(strategy, unconstrained(*(3,) * 4))
    assert [len(step.after.top) for step in steps] == [4] * 4
    assert strategy.settings()["top_k"] == 4
    assert NSGA2(population=4, top_k=2).top_k == 2


def test_initial_architectures_may_be_an_array() -> None:
    strategy = NSGA2(initial=np.array([[0, 1], [1, 1]]))
    assert strategy == NSGA2(initial=((0, 1), (1, 1)))
    assert json.loads(json.dumps(strategy.settings()))["initial"] == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"costs": ()}, "costs"),
        ({"costs": "flops"}, "costs"),
        ({"costs": ("flops", "flops")}, "costs"),
        ({"crossover_probability": 1.5}, "crossover_probability"),
        ({"mutation_probability": nan}, "mutation_probability"),
        ({"population": 0}, "population"),
        ({"initial": None}, "initial"),
        ({"initial": (3, 4)}, "initial"),
        ({"initial": "01"}, "initial"),
        ({"initial": ((0.5, 1),)}, "initial"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        NSGA2(**options)
    assert caught.value.argument == argument


WRONG = [({"costs": ("joules",)}, "costs"), ({"initial": ((0, 1, 2),)}, "initial")]
"""Settings that name what a problem of two blocks does not have."""


@pytest.mark.parametrize(("options", "argument"), WRONG)
def test_what_the_problem_does_not_have_is_refused(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        NSGA2(**options).check(unconstrained(2, 2))
    assert caught.value.argument == argument


@pytest.mark.parametrize(("options", "argument"), WRONG)
def test_it_is_refused_before_anything_is_written(
    options: dict[str, Any], argument: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"strategy": NSGA2(**options), "run_dir": tmp_path / "run"}
    scene = small_supernet(blocks=2), small_data()
    calls: list[Callable[[], object]] = [
        lambda: raynas.search(*scene, workers=0, **given),
        lambda: raynas.check_search(*scene, workers=0, **given),
        lambda: raynas.search_with(Mock(), unconstrained(2, 2), **given),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.argument == argument
        assert not list(tmp_path.iterdir())


def test_additive_values_are_found_with_costs_ignored() -> None:
    """The end of the front with the highest first objective is the best that was seen."""
    problem = unconstrained(*(3,) * 6)
    strategy = NSGA2(population=12, generations=6, top_k=12)
    steps = run_strategy(strategy, problem, 1, lambda a: Score(a, {"top1": additive_value(a)}, 0.0))
    best = max(score.value for step in steps for score in step.scores)
    assert steps[-1].after.top[0].value == best
