"""Scores and their order, settings and problems."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.evolution import CFES, EA, PCFES, Problem, RandomSearch, Score, State, Strategy
from raynas.evolution.strategy import best_first, rank_key
from raynas.space import SearchSpace


@pytest.mark.parametrize("kind", [EA, RandomSearch, CFES, PCFES])
@pytest.mark.parametrize(
    ("argument", "value"),
    [("population", 0), ("generations", 0), ("top_k", 0), ("population", -3)],
)
def test_settings_out_of_range(kind: type[Strategy], argument: str, value: int) -> None:
    with pytest.raises(InputError, match=f"^{argument}: expected at least 1, got {value}"):
        kind(**{argument: value})


@pytest.mark.parametrize("kind", [EA, CFES, PCFES])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("crossover", -1),
        ("mutation", -1),
        ("mutation", 26),
        ("mutation_probability", 1.1),
        ("mutation_probability", -0.1),
        ("mutation_probability", float("nan")),
    ],
)
def test_breeding_out_of_range(kind: type[Strategy], argument: str, value: float) -> None:
    with pytest.raises(InputError, match=argument):
        kind(**{argument: value})


def test_start_is_the_empty_state() -> None:
    assert EA().start() == State(0, (), (), (), (), frozenset(), None)


def test_problem_wants_a_table_that_fits() -> None:
    table = CostTable("flops", 0, ((1, 2), (1, 2)))
    with pytest.raises(InputError, match=r"'flops'.*\[2, 3\] choices per block.*\[2, 2\]"):
        Limits(SearchSpace((2, 3)), (Limit(table, 9),))
    with pytest.raises(InputError, match=r"limits.*\[2, 3\] choices per block.*\[2, 2\]"):
        Problem(SearchSpace((2, 3)), Limits(SearchSpace((2, 2)), (Limit(table, 9),)))


def test_rank_key() -> None:
    nan, inf = float("nan"), float("inf")
    ranked = [
        Score((1, 1), {"top1": 0.9000000001}, 9.0),
        Score((1, 0), {"top1": 0.9}, 0.5),
        Score((0, 1), {"top1": 0.9}, 0.5000000001),
        Score((0, 2), {"top1": 0.1}, 1.0),
        Score((0, 3), {"top1": 0.1}, 1.0),
        Score((2, 0), {"top1": 0.9}, nan),
        Score((0, 0), {"top1": 0.5}, 0.1, finite=False),
        Score((1, 2), {"top1": 0.5}, 0.0, finite=False),
        Score((2, 2), {"top1": 0.5}, inf),
        Score((0, 4), {"top1": nan}, nan, finite=False),
        Score((0, 5), {"top1": nan}, nan, finite=False),
    ]
    generator = random.Random(0)
    for _ in range(20):
        shuffled = generator.sample(ranked, len(ranked))
        assert [s.architecture for s in sorted(shuffled, key=rank_key)] == [
            s.architecture for s in ranked
        ]


def test_a_survival_without_a_name_is_recorded_by_its_class() -> None:
    class Keep:
        def __call__(self, scores: Sequence[Score], count: int) -> tuple[Score, ...]:
            return tuple(scores[:count])

    for survival, name in ((partial(best_first), "partial"), (Keep(), "Keep")):
        recorded = EA(survival=survival).settings()["survival"]
        assert recorded.endswith(name)
