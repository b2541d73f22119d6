"""Searches side by side: what is searched, with which thresholds, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import raynas
from raynas.commands import comparison
from raynas.commands.families import build_family, freezing_of
from raynas.commands.named_strategies import choose_strategy
from raynas.errors import InputError
from raynas.evolution import presets
from raynas.testing.supernets import small_supernet

SETTINGS = raynas.TrainingSettings(epochs=1, batch_size=64, learning_rate=0.05)


def row(name: str, seed: int, seconds: float, **changes: object) -> dict[str, object]:
    """The content of a `result.json`, as far as the table reads it."""
    settings = {"cf": {"threshold": 0.5}, "pcf": {"threshold": 0.4, "monitor": 2}}.get(name, {})
    scores = {"top1": 0.9, "test_top1": 0.875, "flops": 2_500_000, "evaluations": 1000}
    return {
        "name": name,
        "settings": settings,
        "seed": seed,
        "seconds": seconds,
        **scores,
        **changes,
    }


def last_row(rows: list[dict[str, object]]) -> list[object]:
    """The cells of the table's last row."""
    return [list(column.cells)[-1] for column in comparison.comparison_table(rows).columns]


def test_ratios_are_of_the_same_seed() -> None:
    rows = [row("ea", 0, 10.0), row("pcf", 0, 5.0), row("ea", 1, 30.0), row("pcf", 1, 10.0)]
    last = last_row(rows)
    assert last == [
        "PCF-ES", "0.4", "2", "90.00%", "87.50%", "2.500", "1000", "7.5", "2.50 (2.00-3.00)",
    ]  # fmt: skip


def test_no_ratio_without_the_baseline_and_no_test_score_without_a_test_split() -> None:
    last = last_row([row("cf", 0, 5.0, test_top1=None)])
    assert last[:5] == ["CF-ES", "0.5", "", "90.00%", "not measured"]
    assert last[-1] == ""


def energy(joules: float | None, source: str | None = "measured") -> dict[str, object]:
    """The fields of a known energy, and of a GPU."""
    return {
        "gpu_hours": 0.5,
        "energy_j": joules,
        "energy_source": source,
        "co2_g": None if joules is None else joules / 10.0,
    }


def test_energy_has_columns_where_something_is_known_of_it() -> None:
    rows = [row("ea", 0, 10.0, **energy(12_000.0)), row("pcf", 0, 5.0, **energy(None, None))]
    titles = [column.header for column in comparison.comparison_table(rows).columns]
    assert titles[7:] == ["seconds", "GPU hours", "joules", "g CO2", "seconds: EA / this"]
    assert last_row(rows)[7:] == ["5.0", "0.5", "", "", "2.00 (2.00-2.00)"]
    assert last_row(rows[:1])[8:11] == ["0.5", "1.2e+04", "1,200"]
    estimated = [row("ea", 0, 10.0, **energy(12.5)), row("ea", 1, 10.0, **energy(7.5, "estimated"))]
    assert last_row(estimated)[8:11] == ["0.5", "~10", "~1"]
    partly = [row("ea", 0, 10.0, **energy(12.5), energy_missing="host: no RAPL")]
    assert last_row(partly)[8:11] == ["0.5", "≥12.5", "≥1.25"]


@pytest.mark.parametrize(
    ("family", "cf", "pcf", "monitor"),
    [
        ("spos", 0.7, 0.7, 3),
        ("fairnas", 0.5, 0.4, 2),
        ("greedynas", 0.4, 0.4, 3),
        ("resnet-mixed", 0.7, 0.7, 3),
    ],
)
def test_thresholds_are_those_of_the_papers_table(
    family: str, cf: float, pcf: float, monitor: int
) -> None:
    supernet = build_family(family, raynas.data.digits())
    options = comparison.ComparisonOptions(generations=3)
    assert options.chosen(supernet) == {
        "ea": raynas.EA(generations=3),
        "cf": raynas.CFES(threshold=cf, generations=3),
        "pcf": raynas.PCFES(threshold=pcf, monitor=monitor, generations=3),
    }


def test_given_thresholds_count_and_other_supernets_have_the_defaults() -> None:
    given = SimpleNamespace(threshold=0.6, monitor=None)
    chosen = choose_strategy("pcf", given, presets.FAIRNAS)
    assert chosen == raynas.PCFES(threshold=0.6, monitor=2)
    assert freezing_of(small_supernet()) is None
    assert choose_strategy("pcf", SimpleNamespace(), None) == raynas.PCFES()


@pytest.mark.parametrize("values", [{"seeds": (1, 1)}, {"strategies": ()}])
def test_what_is_named_twice_or_not_at_all_is_refused(values: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="at least one, each once"):
        comparison.ComparisonOptions(**values)


def test_a_supernet_is_trained_searched_and_not_searched_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = raynas.data.digits(calibration=20, validation=40, shard_size=20)
    options = comparison.ComparisonOptions(("ea", "cf"), generations=1, population=4, workers=0)

    def run() -> list[dict[str, object]]:
        torch.manual_seed(0)
        return comparison.train_and_compare(
            build_family("spos", images),
            images,
            SETTINGS,
            tmp_path / "supernet.safetensors",
            options,
            constraint=raynas.FLOPs(at_most="90%"),
        )

    first = run()
    assert [each["name"] for each in first] == ["ea", "cf"]
    for each in first:
        recorded = json.loads((tmp_path / f"{each['name']}-seed0" / "result.json").read_text())
        assert recorded["architecture"] == each["architecture"]
    config = json.loads((tmp_path / "cf-seed0" / "config.json").read_text())
    assert config["strategy"]["threshold"] == 0.7
    before = capsys.readouterr().out
    assert "CF-ES" in before
    assert run() == first
    assert "Supernet: reusing" in capsys.readouterr().out
