"""Tables hold every architecture's outcomes, and searches on them find what is best there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import raynas
from raynas.costs import Limits
from raynas.errors import InputError
from raynas.evolution import Problem
from raynas.score import rank_key
from raynas.supernets import ChainSupernet
from raynas.testing import (
    Table,
    TableEvaluator,
    build_table,
    check_evaluator,
    describe_table,
    small_data,
    small_supernet,
)

CPU = raynas.Evaluation(device="cpu")


@pytest.fixture(scope="module")
def supernet() -> ChainSupernet:
    return small_supernet(blocks=3, choices=3)


@pytest.fixture(scope="module")
def table(supernet: ChainSupernet) -> Table:
    told: list[int] = []
    built = build_table(supernet, small_data(), CPU, progress=told.append)
    assert told == [3 * (part + 1) for part in range(9)]
    return built


def test_scores_are_those_of_an_evaluation(supernet: ChainSupernet, table: Table) -> None:
    every = list(supernet.space.enumerate())
    priced = raynas.evaluate(supernet, small_data(), every, evaluation=CPU)
    expected = [replace(score, costs={}) for score in priced]
    assert table.scores(every) == expected
    np.testing.assert_allclose(table.values, [score.top1 for score in expected])
    assert [table.row(each) for each in every] == list(range(27))
    assert table.scores([]) == []
    with pytest.raises(InputError, match="architecture"):
        table.scores([(0, 0, 3)])


def test_a_table_survives_its_file(supernet: ChainSupernet, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.npz"
    table.save(path)
    description = describe_table(supernet, small_data(), CPU)
    back = Table.load(path, description)
    assert (back.space, back.machine) == (table.space, table.machine)
    assert list(back.outcomes.values) == list(table.outcomes.values)
    for name, values in table.outcomes.values.items():
        np.testing.assert_array_equal(back.outcomes.values[name], values)
        assert back.outcomes.values[name].dtype == values.dtype
    np.testing.assert_array_equal(back.outcomes.losses, table.outcomes.losses)
    np.testing.assert_array_equal(back.outcomes.finite, table.outcomes.finite)
    with pytest.raises(InputError, match="Remove the file"):
        Table.load(path, {**description, "threads": 2})
    assert [file.name for file in path.parent.iterdir()] == ["table.npz"]


@pytest.mark.parametrize("options", [{"bits": 8}, {"sample_rate": 0.5}])
def test_a_protocol_that_changes_behind_a_prefix_has_no_table(
    options: dict[str, float], supernet: ChainSupernet
) -> None:
    settings = raynas.Evaluation(device="cpu", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        build_table(supernet, small_data(), settings)
    assert caught.value.argument in options


def test_a_search_on_a_table_finds_its_best(
    supernet: ChainSupernet, table: Table, tmp_path: Path
) -> None:
    evaluator = TableEvaluator(table)
    check_evaluator(evaluator, table.space)
    problem = Problem(table.space, Limits(table.space))
    strategy = raynas.EA(population=9, generations=20, top_k=3)
    state = raynas.search_with(evaluator, problem, strategy=strategy, run_dir=tmp_path)
    every = table.scores(list(table.space.enumerate()))
    assert state.top == tuple(sorted(every, key=rank_key)[:3])
