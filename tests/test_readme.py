"""The README's Python examples and command lines run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment's executables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.ray
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_example_runs(number: int, tmp_path: Path) -> None:
    example = blocks("python")[number]
    (tmp_path / "example.py").write_text(example)
    done = run([sys.executable, "-W", "error", "example.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout) or "print(" not in example


@pytest.mark.ray
def test_raynas_commands_run(tmp_path: Path) -> None:
    commands = [
        line
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("raynas ")
    ]
    assert len(commands) == 13
    for command in commands:
        done = run(shlex.split(command), tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/cli/best/model.pt2").exists()
    assert (tmp_path / "runs/cli/scores.parquet").exists()


def test_other_commands_name_what_exists() -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile
    files = r"(?:experiments|benchmarks)/(?:\w+/)?\w+\.py|docs/\w+\.md|\w+\.yaml"
    for name in re.findall(files, README):
        assert (ROOT / name).exists(), name


def test_experiment_commands_parse(tmp_path: Path) -> None:
    for script in ("digits_spos.py", "fashion_mnist_spos.py", "imagenet_spos.py"):
        done = run([sys.executable, str(ROOT / "experiments" / script), "--help"], tmp_path)
        assert done.returncode == 0, done.stderr
        for option in ("--strategy", "--workers", "--seed", "--run-dir", "--resume"):
            assert option in done.stdout
