"""The README's `raynas` commands run as they stand there, one after another."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from readme_blocks import raynas_commands, run

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
    systems: bool, count: int, made: tuple[str, ...], tmp_path: Path
) -> None:
    commands = [each for each in raynas_commands() if (SYSTEMS in each) == systems]
    assert len(commands) == count
    for command in commands:
        done = run(shlex.split(command), tmp_path)
        assert done.returncode == 0, done.stderr
    for name in made:
        assert (tmp_path / name).exists()
