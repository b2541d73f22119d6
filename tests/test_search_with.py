"""Searches with a scorer of one's own: a table of known scores finds its optimum, and resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest
from small_search import Interrupted, contents, history

import raynas
from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.score import Score, rank_key
from raynas.space import Architecture, SearchSpace

SPACE = SearchSpace((3, 4, 2, 3))
COSTS = CostTable(name="steps", base=1, blocks=((1, 2, 3), (1, 5, 2, 1), (4, 1), (2, 1, 3)))
STRATEGY = raynas.EA(population=8, generations=12, top_k=4)


def problem(at_most: int | None = None) -> raynas.Problem:
    limits = () if at_most is None else (Limit(COSTS, at_most=at_most),)
    return raynas.Problem(SPACE, Limits(SPACE, limits))


def quality(architecture: Architecture) -> float:
    """Rewards some choices, and some pairs of them."""
    a, b, c, d = architecture
    return (a == 1) + 2.0 * (b == 3) + (c == 0) + (d == 2) + 1.5 * ((a, d) == (2, 1))


KNOWN: dict[Architecture, float] = {each: quality(each) for each in SPACE.enumerate()}


class Table(raynas.CandidateEvaluator):
    """Looks scores up."""

    def __init__(self, known: Mapping[Architecture, float] = KNOWN) -> None:
        self.known, self.asked = known, 0

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        self.asked += len(architectures)
        return [Score(each, {"quality": self.known[each]}, loss=0.0) for each in architectures]


def run(run_dir: Path, evaluator: raynas.CandidateEvaluator | None = None, **options: Any) -> Any:
    settings = {"strategy": STRATEGY, "seed": 4, **options}
    given = settings.pop("problem", None) or problem()
    return raynas.search_with(evaluator or Table(), given, run_dir=run_dir, **settings)


@pytest.mark.parametrize("at_most", [None, 9, 7])
def test_an_evolution_finds_the_best_of_a_table(at_most: int | None, tmp_path: Path) -> None:
    legal = [each for each in KNOWN if at_most is None or COSTS.of(each) <= at_most]
    table = Table()
    state = run(tmp_path, table, problem=problem(at_most))
    assert table.asked <= min(8 * 12, len(legal))
    best = STRATEGY.finalists(state)[0]
    assert KNOWN[best] == max(KNOWN[each] for each in legal)
    assert best in legal
    assert [score.architecture for score in state.top] == [
        score.architecture for score in sorted(state.top, key=rank_key)
    ]


@pytest.mark.parametrize(
    "strategy",
    [
        raynas.RandomSearch(population=8, generations=12),
        raynas.CFES(population=8, generations=6, top_k=4, threshold=0.6),
        raynas.PCFES(population=8, generations=6, top_k=4, threshold=0.6, monitor=2),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_every_strategy_runs_on_a_table(strategy: raynas.Strategy, tmp_path: Path) -> None:
    state = run(tmp_path, strategy=strategy)
    assert state.finished is not None
    assert all(score.value == KNOWN[score.architecture] for score in state.top)


def interrupted(run_dir: Path, generations: int) -> None:
    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        if record["generation"] + 1 == generations:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(run_dir, observer=observe)


def test_an_interrupted_search_resumes_to_the_same_history(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    interrupted(tmp_path / "run", 3)
    table = Table()
    assert run(tmp_path / "run", table, resume=True) == whole
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    lines = history(tmp_path / "whole").count(b"\n")
    assert table.asked <= 8 * (lines - 3) + 1, "of the recorded ones, one was looked up again"


@pytest.mark.parametrize("generations", [1, 3])
def test_a_table_that_changed_is_not_continued(generations: int, tmp_path: Path) -> None:
    interrupted(tmp_path, generations)
    before = contents(tmp_path)
    for change in (0.02, -inf, float("nan")):
        table = Table({each: value + change for each, value in KNOWN.items()})
        with pytest.raises(InputError, match=r"resume: expected the recorded score of \[.*now"):
            run(tmp_path, table, resume=True)
        assert contents(tmp_path) == before
    # Rounding elsewhere is no change.
    table = Table({each: value + 1e-6 for each, value in KNOWN.items()})
    run(tmp_path, table, resume=True)


def test_what_scores_depend_on_is_part_of_the_run(tmp_path: Path) -> None:
    interrupted(tmp_path, 2)
    with pytest.raises(InputError, match=r"resume: .*evaluator\.table: absent there, 2 now"):
        run(tmp_path, resume=True, description={"table": 2})


@pytest.mark.parametrize("how", ["fewer", "another order"])
def test_scores_of_other_architectures_are_refused(how: str, tmp_path: Path) -> None:
    class Wrong(Table):
        def score(self, architectures: Sequence[Architecture]) -> list[Score]:
            scores = super().score(architectures)
            return scores[:-1] if how == "fewer" else scores[::-1]

    with pytest.raises(InputError, match="evaluator: expected one score for each of 8"):
        run(tmp_path, Wrong())
    assert not (tmp_path / "generations.jsonl").exists()
