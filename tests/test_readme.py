"""The README's Python examples run as they stand there, and what it names exists."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from readme_blocks import README, ROOT, blocks, run

EXAMPLES = blocks("python")
BRIEFLY = {
    "epochs=20": "epochs=2",
    "population=50": "population=12",
    "generations=8": "generations=2",
    "top_k=10": "top_k=4",
    "workers=2": "workers=0",
}
"""Smaller numbers, and no Ray, so that the longest example takes seconds."""


COMMON = ("--seed", "--workers", "--run-dir")
"""Options of every experiment that searches."""


def run_example(example: str, folder: Path) -> None:
    """Run one in a process of its own."""
    (folder / "example.py").write_text(example)
    done = run([sys.executable, "-W", "error", "example.py"], folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout) or "print(" not in example


def test_the_first_example_runs_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = EXAMPLES[0]
    for found, less in BRIEFLY.items():
        assert found in example
        example = example.replace(found, less)
    run_here(example, tmp_path, monkeypatch)
    assert re.search(r"\d", capsys.readouterr().out)


@pytest.mark.ray
@pytest.mark.slow
def test_the_first_example_runs(tmp_path: Path) -> None:
    run_example(EXAMPLES[0], tmp_path)


def run_here(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one in this process."""
    monkeypatch.chdir(folder)
    (folder / "example.py").write_text(example)
    runpy.run_path("example.py", run_name="__main__")


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda text: text.count("\n"))
def test_other_examples_run(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They have no workers, so that they run in this process."""
    assert not re.search(r"workers=[^0]", example)
    run_here(example, tmp_path, monkeypatch)
    assert re.search(r"\d", capsys.readouterr().out) or "print(" not in example


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


@pytest.mark.parametrize(
    "script", sorted((ROOT / "experiments").glob("*.py")), ids=lambda s: s.stem
)
def test_experiment_commands_parse(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    one = script.name.endswith("_spos.py")
    own = ("--strategy", "--resume") if one else ()
    common = ("--home", "--workers") if script.stem == "reproduce" else COMMON
    for option in (*own, *common):
        assert option in shown
