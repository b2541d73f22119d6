"""Searches below the costs of baselines: their limits, their scores, and the table of both."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from small_search import strict_json

import raynas
from raynas.commands import comparison, within_costs
from raynas.commands.within_costs import Found, baseline_table
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, save
from raynas.testing.supernets import small_data, small_supernet
from raynas.training.presets import DIGITS

OPTIONS = comparison.ComparisonOptions(strategies=("ea",), generations=1, population=4, workers=0)


def searched(home: Path, supernet: ChainSupernet, **options: object) -> list[Found]:
    given = {"baselines": {"small": (1,) * 8, "large": (2,) * 8}, "bound": raynas.FLOPs, **options}
    weights = home / "supernet.safetensors"
    return within_costs.train_and_search_below(
        supernet, small_data(), DIGITS, weights, OPTIONS, **given
    )


def test_each_search_keeps_within_its_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supernet = small_supernet()
    save(supernet, tmp_path / "supernet.safetensors")
    rows = searched(tmp_path, supernet)
    assert [row.costs["flops"] for row in rows] == sorted(row.costs["flops"] for row in rows)
    found = {row.network: row for row in rows}
    assert set(found) == {"small", "large", "EA, at most small", "EA, at most large"}
    for name, choice in (("small", 1), ("large", 2)):
        (score,) = raynas.evaluate(supernet, small_data(), [(choice,) * 8])
        baseline, best = found[name], found[f"EA, at most {name}"]
        assert (baseline.top1, baseline.costs) == (score.top1, score.costs)
        result = strict_json(tmp_path / name / "ea-seed0" / "result.json")
        assert (best.top1, best.test_top1) == (result["top1"], result["test_top1"])
        assert best.costs["flops"] == result["flops"] <= baseline.costs["flops"]
        config = strict_json(tmp_path / name / "ea-seed0" / "config.json")
        assert str(score.costs["flops"]) in str(config["constraint"])
        # The held-out score of a baseline is that of a search which can find nothing else.
        alone = raynas.search(
            supernet, small_data(), strategy=raynas.EA(population=1, generations=1, top_k=1),
            constraint=raynas.Cost([[float(c != choice) for c in range(4)]] * 8, at_most=0),
            run_dir=tmp_path / f"alone-{name}", workers=0,
        )  # fmt: skip
        assert baseline.test_top1 == alone.best.test_top1
    assert capsys.readouterr().out.count("Baselines, and what was found within their costs") == 1


def test_a_cost_of_ones_own_is_told_of_baselines_and_winners(tmp_path: Path) -> None:
    supernet = small_supernet()
    save(supernet, tmp_path / "supernet.safetensors")
    seconds = [[0.25, 0.5, 0.125, 1.0]] * 8
    bound = partial(raynas.Cost, costs=seconds, name="seconds")
    found = {row.network: row.costs["seconds"] for row in searched(tmp_path, supernet, bound=bound)}
    assert (found["small"], found["large"]) == (4.0, 1.0)
    assert found["EA, at most small"] <= 4.0
    assert found["EA, at most large"] == 1.0


def test_what_a_search_refuses_is_said_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a supernet with quantized modules beside BitOps"):
        searched(tmp_path, small_supernet(), bound=raynas.BitOps)
    with pytest.raises(InputError, match="baselines: expected at least one, got none"):
        searched(tmp_path, small_supernet(), baselines={})
    (tmp_path / "large" / "ea-seed0").mkdir(parents=True)
    (tmp_path / "large" / "ea-seed0" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="resume: expected the configuration"):
        searched(tmp_path, small_supernet())
    assert not (tmp_path / "supernet.safetensors").exists()


def test_a_table_has_a_row_for_each_network() -> None:
    costs = {"flops": 1_234, "params": 56, "bitops": 7_890}
    rows = [Found("2W2A", 0.5, None, costs), Found("EA, at most 2W2A", 0.75, 0.625, costs)]
    table = baseline_table(rows, "bitops")
    columns = [(column.header, list(column.cells)) for column in table.columns]
    assert columns == [
        ("network", ["2W2A", "EA, at most 2W2A"]),
        ("bitops", ["7,890", "7,890"]),
        ("flops", ["1,234", "1,234"]),
        ("params", ["56", "56"]),
        ("val top-1", ["50.00%", "75.00%"]),
        ("test top-1", ["not measured", "62.50%"]),
    ]
