"""Retrained architectures side by side: the table, and what is retrained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_runs import tiny_supernet

import raynas
from raynas.commands.retrained_comparison import compare_retrained
from raynas.costs import flops_table
from raynas.training import presets


def test_each_architecture_is_retrained_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supernet, data = tiny_supernet(), raynas.data.digits(calibration=64, validation=64)
    recipe = replace(presets.RETRAIN_DIGITS, epochs=1, warmup_epochs=0.0, device="cpu")
    table = replace(flops_table(supernet), name="work")
    asked = {"found": (0, 1, 0), "again": (0, 1, 0), "other": (1, 1, 1)}
    found = compare_retrained(supernet, data, asked, recipe, tmp_path, table)
    assert [each.best.architecture for each in found] == list(asked.values())
    assert found[0].best.test_top1 == found[1].best.test_top1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-1-0", "1-1-1"]
    lines = capsys.readouterr().out.splitlines()
    assert sum("epoch   1/1" in line for line in lines) == 2
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    shown = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    for (name, architecture), each in zip(asked.items(), found, strict=True):
        assert shown[name][1] == f"{each.best.test_top1:.2%}"
        assert shown[name][4] == f"{table.of(architecture):,}"
