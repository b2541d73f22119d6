"""Searches under several limits: every architecture that is scored keeps all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_search import (
    PCF,
    Setting,
    records,
    run_search,
    small_data,
    small_supernet,
    strict_json,
)

import raynas
from raynas.costs import counting, flops_table, params_table
from raynas.errors import InputError
from raynas.preparation import prepare

MS = [[(1 + (block + choice) % 4) / 10 for choice in range(4)] for block in range(8)]
CONSTRAINT = [
    raynas.FLOPs(at_most="80%", at_least="30%"),
    raynas.Params(at_most="90%"),
    raynas.Cost(MS, "ms", at_most=2.3, at_least=1.5),
]


def test_a_search_under_several_limits(tmp_path: Path) -> None:
    run_search(tmp_path, Setting(PCF), constraint=CONSTRAINT)
    space = small_supernet().space
    tables = {
        "flops": flops_table(small_supernet()),
        "params": params_table(small_supernet()),
        "ms": raynas.CostTable("ms", 0, MS),  # type: ignore[arg-type]
    }
    flops = max(tables["flops"].of(a) for a in space.enumerate())
    params = max(tables["params"].of(a) for a in space.enumerate())

    def legal(architecture: tuple[int, ...]) -> bool:
        spent = {name: table.of(architecture) for name, table in tables.items()}
        return (
            3 * flops <= 10 * spent["flops"] <= 8 * flops
            and 10 * spent["params"] <= 9 * params
            and 1.5 <= spent["ms"] <= 2.3
        )

    proposed = [
        tuple(score["architecture"])
        for record in records(tmp_path)
        for score in (*record["rescored"], *record["population"])
    ]
    assert len(proposed) > PCF.population, "more than one generation"
    assert all(map(legal, proposed))
    result, config = strict_json(tmp_path / "result.json"), strict_json(tmp_path / "config.json")
    assert result["legal_architectures"] in (None, sum(map(legal, space.enumerate())))
    best = tuple(result["architecture"])
    assert result["costs"] == {name: table.of(best) for name, table in tables.items()}
    assert set(config["constraint"]) == {"flops", "params", "ms"}
    assert config["constraint"]["ms"].items() >= {"at_least": 1.5, "at_most": 2.3}.items()


def test_a_search_with_another_table_is_not_resumed(tmp_path: Path) -> None:
    constraint = raynas.Cost(MS, "ms", at_most=2.3)
    run_search(tmp_path, Setting(PCF), constraint=constraint)
    other = raynas.Cost([*MS[:-1], [0.2] * 4], "ms", at_most=2.3)
    with pytest.raises(InputError, match=r"constraint\.ms\.table: [0-9a-f]{32} there"):
        run_search(tmp_path, Setting(PCF), constraint=other, resume=True)


def test_limits_that_contradict_each_other_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    constraint = [raynas.FLOPs(at_most="35%"), raynas.Params(at_least="99%")]
    with pytest.raises(InputError, match="constraint: expected "):
        run_search(tmp_path / "run", Setting(PCF), constraint=constraint)
    assert not (tmp_path / "run").exists()


def test_a_cost_without_a_bound_is_for_a_strategy_that_minimises_it(tmp_path: Path) -> None:
    setting = Setting(raynas.NSGA2(population=6, generations=1, costs=("flops", "ms")))
    result = run_search(tmp_path / "run", setting, constraint=raynas.Cost(MS, "ms"))
    table = raynas.CostTable("ms", 0, MS)  # type: ignore[arg-type]
    for member in result.front:
        assert member.costs["ms"] == table.of(member.architecture)
    other = raynas.Cost([*MS[:-1], [0.2] * 4], "ms")
    with pytest.raises(InputError, match=r"constraint\.ms\.table: [0-9a-f]{32} there"):
        run_search(tmp_path / "run", setting, constraint=other, resume=True)
    for strategy in (raynas.EA(), raynas.NSGA2(costs=("flops",))):
        with pytest.raises(InputError, match=r"^constraint: expected a bound on ms, or a strategy"):
            run_search(tmp_path / "none", Setting(strategy), constraint=raynas.Cost(MS, "ms"))
    assert not (tmp_path / "none").exists()


def test_no_cost_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes seconds at full size, before anything is shown."""
    runs: list[object] = []

    def counted(supernet: raynas.ChainSupernet) -> dict[str, counting.ModuleCost]:
        runs.append(supernet)
        return real(supernet)

    real = counting.chain_costs
    monkeypatch.setattr(counting, "chain_costs", counted)
    limits = [raynas.FLOPs(at_most="80%"), raynas.Params(at_most="90%")]
    problem = prepare(small_supernet(), small_data(), limits, None, None).problem
    assert len(runs) == 1
    assert list(problem.tables) == ["flops", "params"]
