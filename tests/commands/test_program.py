"""The installed program: its help, its exit codes, and what workers find from its folder."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, get_origin, get_type_hints

import pytest
from command_runs import (
    DIGITS,
    done,
)
from small_search import strict_json

import raynas
from raynas.commands.main import COMMANDS
from raynas.commands.options import plain_docstring

ROOT = Path(__file__).parents[2]


def options_and_words(function: object) -> dict[str, str]:
    """Every option of a command and how its docstring explains it, dataclasses' fields included."""
    found: dict[str, str] = {}
    lines = plain_docstring(inspect.getdoc(function) or "").splitlines()
    said = dict(line.strip().split(": ", 1) for line in lines if line.startswith("    "))
    for name, hint in get_type_hints(function).items():
        if is_dataclass(hint):
            found |= options_and_words(hint)
        elif name != "return":
            found[name] = said[name]
    return found


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("ledger", "onnx")])
def test_help_names_and_explains_every_option_once(name: str) -> None:
    shown = done(name, "--help")
    text = " ".join(shown.replace("│", " ").split())
    explained = options_and_words(COMMANDS[name])
    assert {"run_dir", "run_dirs", "data"} & set(explained)
    hints = get_type_hints(COMMANDS[name], include_extras=True)
    for option, words in explained.items():
        flag = f"--{option.replace('_', '-')}"
        opening = rf"{flag}(,| [A-Z\\[{{])"
        if get_origin(hints.get(option)) is Annotated:
            # An argument without a name, or several.
            opening = r"\[?(PATH|\[PATH \[PATH \.\.\.\]\])\]?  "
        row = re.compile(rf"^[│ ]*{opening}", re.MULTILINE)
        assert len(row.findall(shown)) == 1, flag
        assert " ".join(words.split()).rstrip(".") in text
    for code in ("`", "{None}", "InputError", "OmitArgPrefixes"):
        assert code not in shown


def test_the_version_is_printed_without_loading_torch() -> None:
    code = (
        "import sys; sys.argv = ['raynas', '--version']; from raynas.commands.main import main; "
        "main(); assert not {'torch', 'ray'} & sys.modules.keys()"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (shown.stdout, shown.stderr) == (f"raynas {raynas.__version__}\n", "")


def test_help_is_shown_without_loading_torch() -> None:
    code = f"""
import sys
from raynas.commands.main import main
for name in ((), *((name,) for name in {list(COMMANDS)})):
    sys.argv = ["raynas", *name, "--help"]
    try:
        main()
    except SystemExit as end:
        print("ended with", end.code, "torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    texts = ended.stdout.split("ended with 0 False\n")
    assert len(texts) == len(COMMANDS) + 2, ended.stderr
    for name, text in zip(COMMANDS, texts[1:], strict=False):
        assert name in texts[0]
        assert f"usage: raynas {name} " in text


def program(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `raynas` as its installed script does, in a folder."""
    code = "import sys; sys.argv[0] = 'raynas'; from raynas.commands.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_program_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    ended = program("export", *DIGITS, "--supernet", "none", "--out", "best", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: architecture: expected either --architecture or a run directory, got neither. "
        "Give one of them.\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_installed_script_is_this_program() -> None:
    script = Path(sys.executable).parent / "raynas"
    assert "from raynas.commands.main import main" in script.read_text()


MODULE = """
from command_runs import tiny_supernet

def build():
    return tiny_supernet()
"""


@pytest.mark.ray
def test_workers_load_a_supernet_of_the_current_folder(weights: Path, tmp_path: Path) -> None:
    helpers = Path(__file__).parents[1] / "command_runs.py"
    (tmp_path / "command_runs.py").write_text(helpers.read_text())
    (tmp_path / "networks_here.py").write_text(MODULE)
    own = (*DIGITS, "--supernet", "networks_here:build", "--weights", weights)
    brief = ("--generations", 1, "--population", 4, "--run-dir", "run")
    ended = program("search", *own, *brief, "--workers", 2, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert strict_json(tmp_path / "run" / "result.json")["workers"] == 2
