"""The wheel: what is installed from it runs outside the repository, on its own files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from readme_blocks import ROOT

SEARCH = """
import raynas
from raynas.testing import small_data, small_supernet
result = raynas.search(
    small_supernet(), small_data(), strategy=raynas.PCFES(population=6, generations=3, top_k=3),
    workers=0, run_dir="run",
)
result.export("best")
print(raynas.__file__, len(result.best.architecture))
"""


def run(command: list[str | Path], cwd: Path, path: Path | None = None) -> str:
    """Run a command with one folder before the installed packages; what it prints."""
    environment = {name: each for name, each in os.environ.items() if name != "PYTHONPATH"}
    environment |= {} if path is None else {"PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_wheel_runs_elsewhere(tmp_path: Path) -> None:
    sources, site, away = tmp_path / "sources", tmp_path / "site", tmp_path / "away"
    away.mkdir()
    # A copy, since a build leaves files beside its sources.
    files = run(["git", "ls-files", "-co", "--exclude-standard"], ROOT).splitlines()
    for name in files:
        if name.startswith("raynas/") or "/" not in name:
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sources]
    run([*pip, *build], tmp_path)
    (wheel,) = tmp_path.glob("raynas-*.whl")
    run([*pip, "install", "--no-deps", "--target", site, wheel], tmp_path)

    packaged = {name for name in files if name.startswith("raynas/")}
    installed = {str(each.relative_to(site)) for each in site.glob("raynas/**/*") if each.is_file()}
    assert packaged <= installed
    assert "raynas search" in run([sys.executable, "-m", "raynas", "search", "--help"], away, site)
    shown = run([sys.executable, "-W", "error", "-c", SEARCH], away, site)
    assert shown.split() == [str(site / "raynas" / "__init__.py"), "8"]
    assert (away / "best" / "model.pt2").exists()
