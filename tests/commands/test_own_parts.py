"""Limits, tasks and data of a user's own on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import (
    DIGITS,
    IMAGES,
    TINY,
    cells,
    done,
    image_folder,
)
from small_search import strict_json

from raynas.commands.loading import DataOptions, load_data
from raynas.space import encode


def test_limits_of_the_users_own(weights: Path, tmp_path: Path) -> None:
    limits = ("--limits", "command_runs:few_milliseconds", "--flops-at-least", "20%")
    run = ("--workers", 0, "--generations", 3, "--population", 5, "--run-dir", tmp_path / "run")
    out = done("search", *DIGITS, *TINY, "--weights", weights, *run, *limits)
    # Of the seven within the milliseconds, those that are not all of cheap choices.
    assert "3 of 3 legal architectures" in out
    result = strict_json(tmp_path / "run" / "result.json")
    assert result["costs"]["ms"] == 1.5
    assert sorted(result["architecture"]) == [0, 0, 2]
    assert cells(out)["ms"] == "1.5"


def test_a_task_of_the_users_own(tmp_path: Path) -> None:
    own = ("--data", "command_runs:slopes", "--supernet", "command_runs:linear_supernet")
    task = ("--task", "command_runs:closeness")
    weights = tmp_path / "supernet.safetensors"
    trained = done("train", *own, *task, "--out", weights, "--epochs", 1)
    assert "training closeness of random paths -" in trained
    assert "%" not in trained
    run = ("--weights", weights, "--workers", 0, "--generations", 1, "--population", 3)
    out = done("search", *own, *task, *run, "--run-dir", tmp_path / "run")
    result = strict_json(tmp_path / "run" / "result.json")
    assert cells(out)["validation closeness"] == f"{result['closeness']:.4f}"
    assert result["closeness"] < 0
    best = encode(tuple(result["architecture"]))
    scored = done("evaluate", *own, *task, "--weights", weights, "--architectures", best)
    assert scored.startswith(f"{best}  closeness {result['closeness']:.4f}, ")
    untrained = cells(done("describe", *own, *task, "--paths", 1))
    assert untrained["weights"] == "as command_runs:linear_supernet leaves them"


@pytest.mark.parametrize("val", [True, False])
def test_a_folder_of_images(val: bool, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "pets", val=val)
    data = ("--data", folder, *IMAGES, "--calibration", 2, "--validation", 4)
    weights = tmp_path / "supernet.safetensors"
    out = done("train", *data, "--out", weights, "--epochs", 1, "--batch-size", 2)
    held = len(load_data(DataOptions(str(folder), image_size=8)).test)
    assert held == 1
    tested = 0 if val else 2
    assert f"on {12 - 2 - 4 - tested} samples of pets" in out
    scored = done("evaluate", *data, "--weights", weights, "--architectures", "0,1,2")
    assert scored.startswith("0,1,2  top1 ")


def test_folders_of_other_names(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "pets")
    (folder / "train").rename(folder / "learn")
    (folder / "val").rename(folder / "valid")
    named = DataOptions(str(folder), train_folder="learn", val_folder="valid", image_size=8)
    assert sum(shard.rows for shard in load_data(named).test) == 4
    split = DataOptions(str(folder), train_folder="learn", val_folder="none", image_size=8, test=3)
    assert sum(shard.rows for shard in load_data(split).test) == 3


def test_data_of_a_function_take_its_options_and_may_print(weights: Path) -> None:
    arguments = ("--data", "command_runs:few_digits", "--validation", 10, "--weights", weights)
    out = done("evaluate", *arguments, *TINY, "--architectures", "0,0,0")
    assert out.splitlines()[0] == "digits, a few"
    assert len(load_data(DataOptions("command_runs:few_digits")).validation[0].labels) == 40
