"""Data, supernets and functions of the user's that a command cannot use: one line on stderr."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_runs import (
    BRIEF_SEARCH,
    DIGITS,
    IMAGES,
    TINY,
    assert_refused,
    image_folder,
)
from small_search import contents

MODULES = {
    "fails_at_import": "raise ValueError('at import')",
    "imports_what_is_not_there": "import nowhere_to_be_found",
    "exits": "import sys; sys.exit(3)",
    "no_python": "def f(:",
}


@pytest.mark.parametrize("argument", ["data", "supernet", "task", "limits"])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (":", "expected package.module:function, got ':'. Write it as"),
        ("command_runs:", "expected package.module:function, got 'command_runs:'."),
        (":build", "expected package.module:function, got ':build'."),
        ("a/b.py:build", "expected package.module:function, got 'a/b.py:build'."),
        ("not_here.at_all:build", "not_here.at_all:build (No module named 'not_here'). Run the"),
        ("not_here.py:build", "No module named 'not_here'). Leave out .py: not_here:build."),
        ("fails_at_import.py:build", "(ValueError: at import (fails_at_import.py, line 1)). Mend"),
        ("command_runs.py:tiny_supernet", "Leave out .py: command_runs:tiny_supernet."),
        ("command_runs:nothing", "expected a function nothing in command_runs, got none."),
        ("command_runs:NUMBER", "expected a function NUMBER in command_runs, got a int."),
        ("command_runs:returns_a_number", "from command_runs:returns_a_number, got "),
        ("command_runs:fails", "got RuntimeError: no such thing (command_runs.py, line "),
        ("command_runs:needs_an_argument", "got TypeError: needs_an_argument() missing 1"),
        ("fails_at_import:build", "(ValueError: at import (fails_at_import.py, line 1)). Mend"),
        ("imports_what_is_not_there:build", "No module named 'nowhere_to_be_found' (imports_what"),
        ("exits:build", "(SystemExit: 3 (exits.py, line 1)). Mend the module."),
        ("no_python:build", "(SyntaxError: invalid syntax (no_python.py, line 1)). Mend"),
    ],
)
def test_functions_of_the_user_that_are_not_right(
    argument: str,
    source: str,
    text: str,
    own: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, content in MODULES.items():
        (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    given = {"data": DIGITS, "supernet": own, "task": (), "limits": ()}
    given[argument] = (f"--{argument}", source)
    options = [option for options in given.values() for option in options]
    run = ("--workers", 0, "--run-dir", tmp_path / "run")
    assert_refused(("search", *options, *run), f"{argument}: ", text)
    assert len(contents(tmp_path)) == len(MODULES)


def test_an_error_of_raynas_in_a_users_function_is_its_own(tmp_path: Path) -> None:
    base = ("train", *DIGITS, "--out", tmp_path / "new.st")
    assert_refused((*base, "--supernet", "command_runs:fails_as_raynas_does"), "choices: expected")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--image-size", 3), "image-size: expected none for --data digits"),
        (("--data-dir", "x"), "data-dir: expected none beside --data digits, which is bundled"),
        (("--calibration", -1), "calibration: expected at least 1 image, got -1."),
        (("--validation", 100_000), "expected at most 1796 images"),
        (("--shard-size", 0), "shard_size: expected at least 1, got 0."),
        (("--data", "command_runs:few_digits", "--image-size", 3), "image-size: expected none for"),
        (("--data", "command_runs:few_digits", "--data-dir", "x"), "data-dir: expected none"),
        (("--data", "cifar10"), "data-dir: expected the folder of cifar10, got none."),
        (("--val-folder", "x"), "val-folder: expected none beside --data digits, got x."),
        (("--data", "mnist"), "data: expected one of digits, fashion-mnist, "),
    ],
)
def test_data_that_cannot_be(
    options: tuple[object, ...], text: str, own: tuple[object, ...], tmp_path: Path
) -> None:
    data = () if "--data" in options else DIGITS
    base = ("search", *data, *own, "--workers", 0, "--run-dir", tmp_path / "run")
    assert_refused((*base, *options), text)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--supernet", "absent.st"), "absent.st"),
        (("--supernet", __file__), "test_bad_sources.py"),
        ((*TINY, "--weights", "absent.st"), "absent.st"),
        (("--supernet", "WEIGHTS"), "unexpected"),
        (("--supernet", "WEIGHTS", "--weights", "WEIGHTS"), "weights: expected none, beside a"),
        (("--supernet", "command_runs:image_supernet"), "expected 10 classes, as digits has"),
    ],
)
def test_supernets_that_cannot_be(
    options: tuple[str, ...], text: str, weights: Path, tmp_path: Path
) -> None:
    named = [option.replace("WEIGHTS", str(weights)) for option in options]
    assert_refused((*BRIEF_SEARCH, *named, "--run-dir", tmp_path / "run"), text)
    assert contents(tmp_path) == {}


def test_a_folder_needs_a_supernet_that_fits_its_images(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "pets")
    before = contents(tmp_path)
    base = ("train", "--data", folder, "--out", tmp_path / "new.st")
    assert_refused((*base, "--image-size", 8), "supernet: expected package.module:function, which")
    assert_refused((*base, *IMAGES[2:]), "(3, 224, 224)")
    assert_refused((*base, *IMAGES, "--image-size", 0), "image_size: expected at least 1, got 0.")
    assert_refused((*base, "--image-size", 8, *TINY), "expected 2 classes, as pets has, got 10.")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["search", "train"])
def test_folders_of_images_that_cannot_be(
    name: str, own: tuple[object, ...], tmp_path: Path
) -> None:
    outputs = {
        "search": ("search", *own, "--workers", 0, "--run-dir", tmp_path / "run"),
        "train": ("train", "--out", tmp_path / "new.st"),
    }
    base = (*outputs[name], "--data", "imagenet")
    assert_refused(base, "data-dir: expected the folder of imagenet, got none. Give --data-dir.")
    assert_refused((*base, "--data-dir", tmp_path / "absent"), "root: ", "absent/train")
    (tmp_path / "images" / "train").mkdir(parents=True)
    assert_refused((*base, "--data-dir", tmp_path / "images"), "root: expected a folder of class")
    (tmp_path / "images" / "train" / "cat").mkdir()
    assert_refused((*base, "--data-dir", tmp_path / "images"), "none in 1 of 1: cat.")
    assert contents(tmp_path) == {}
