"""The `raynas` commands of README and docs run as they stand there, one after another."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_runs import command
from readme_blocks import ROOT, raynas_commands, run

SYSTEMS = "runs/greedy"
"""The folder of the commands that show the papers' systems; all others build on each other."""


@pytest.mark.ray
@pytest.mark.parametrize(
    ("systems", "count", "made"),
    [
        (
            False,
            10,
            ("runs/cli/best/model.pt2", "runs/cli/scores.parquet", "runs/cli/two.safetensors"),
        ),
        # `commands/test_systems.py` runs the same commands in this process.
        pytest.param(
            True,
            4,
            ("runs/greedy/latency.json", "runs/greedy/subnets/00/model.pt2"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one search after another", "the papers' systems"],
)
def test_raynas_commands_run(
    systems: bool,
    count: int,
    made: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those with workers of their own in processes of their own, all others in this one."""
    monkeypatch.chdir(tmp_path)
    commands = [each for each in raynas_commands() if (SYSTEMS in each) == systems]
    assert len(commands) == count
    for words in map(shlex.split, commands):
        if words[0] == "torchrun" or (words[1] == "search" and "--workers" not in words):
            process = run(words, tmp_path)
            assert process.returncode == 0, process.stderr
        else:
            ended = command(*words[1:])
            assert ended.code == 0, ended
    for name in made:
        assert (tmp_path / name).exists()


@pytest.mark.slow
def test_commands_of_the_systems_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of channels, mixed precision, PONAS and retraining."""
    monkeypatch.chdir(tmp_path)
    commands = raynas_commands((ROOT / "docs" / "systems.md").read_text())
    assert len(commands) == 8
    for line in commands:
        ended = command(*shlex.split(line)[1:])
        assert ended.code == 0, ended
    assert (tmp_path / "runs" / "joint" / "retrained" / "model.pt2").exists()
