"""The README's Python examples run as they stand there, and what it names exists."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from readme_blocks import README, ROOT, blocks, run


@pytest.mark.ray
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_example_runs(number: int, tmp_path: Path) -> None:
    example = blocks("python")[number]
    (tmp_path / "example.py").write_text(example)
    done = run([sys.executable, "-W", "error", "example.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout) or "print(" not in example


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
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    one = script.name.endswith("_spos.py")
    own = ("--strategy", "--resume") if one else ()
    for option in (*own, "--seed", "--workers", "--run-dir"):
        assert option in shown
