"""The `raynas` commands of the README run as they stand there, one after another."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_runs import command
from readme_blocks import raynas_commands, run

SYSTEMS = "runs/greedy"
"""The folder of the commands that show the papers' systems; all others build on each other."""

BRIEFLY = {
    "train": ("--epochs", "1"),
    "search": ("--population", "6", "--generations", "2", "--workers", "0"),
}
"""Options that follow those of the text, for the same commands in less time, and without Ray."""


@pytest.mark.ray
@pytest.mark.parametrize("briefly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_raynas_commands_run(
    briefly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with workers of their own in processes of their own, all others in this one."""
    monkeypatch.chdir(tmp_path)
    commands = [each for each in raynas_commands() if SYSTEMS not in each]
    assert len(commands) == 12
    if briefly:
        commands = [each for each in commands if not each.startswith("torchrun")]
    run_all(commands, BRIEFLY if briefly else {})
    for name in ("best/model.pt2", "scores.parquet", *([] if briefly else ["two.safetensors"])):
        assert (tmp_path / "runs" / "cli" / name).exists()


@pytest.mark.slow
def test_commands_of_the_papers_systems_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `commands/test_systems.py`, which runs the same commands briefly."""
    monkeypatch.chdir(tmp_path)
    commands = [each for each in raynas_commands() if SYSTEMS in each]
    assert len(commands) == 4
    run_all(commands, {})
    for name in ("latency.json", "subnets/00/model.pt2"):
        assert (tmp_path / "runs" / "greedy" / name).exists()


def run_all(commands: list[str], added: Mapping[str, tuple[str, ...]]) -> None:
    """Run commands one after another in the current folder.

    Args:
        commands: of `raynas` or torchrun.
        added: options for some subcommands.
    """
    for words in map(shlex.split, commands):
        launched = words[0] == "torchrun"
        words += added.get(words[words.index("raynas") + 1], ())
        if launched or (words[1] == "search" and "--workers" not in words):
            process = run(words, Path.cwd())
            assert process.returncode == 0, process.stderr
        else:
            ended = command(*words[1:])
            assert ended.code == 0, ended
