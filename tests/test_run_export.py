"""What is done with a finished search: tested, loaded again, exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_search import (
    CLASSES,
    SETTINGS,
    SHAPE,
    contents,
    interrupt,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.errors import InputError
from raynas.export import export_architecture
from raynas.result import load_result
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture


def foreign_test() -> list[Shard]:
    pixels = np.zeros((4, *SHAPE), dtype=np.uint8)
    return make_shards(pixels, np.array([0, 1, CLASSES, 2]), split="test", shard_size=2)


def large_test() -> list[Shard]:
    pixels = np.zeros((4, 1, 12, 12), dtype=np.uint8)
    return make_shards(pixels, np.array([0, 1, 2, 3]), split="test", shard_size=2)


@pytest.mark.parametrize(
    ("shards", "message"),
    [(foreign_test, "test labels: expected 0 to 5"), (large_test, "test images: expected shape")],
)
def test_a_test_split_that_does_not_fit_can_be_mended(
    shards: Callable[[], list[Shard]], message: str, tmp_path: Path
) -> None:
    data = replace(small_data(), test=shards())
    with pytest.raises(InputError, match=message):
        run_search(tmp_path, data=data)
    assert not (tmp_path / "result.json").exists()
    assert run_search(tmp_path, resume=True).best.test_top1 is not None


def test_a_finished_run_is_loaded_and_exported(tmp_path: Path) -> None:
    setting = SETTINGS["cf, inherited"]
    result = run_search(tmp_path / "run", setting)
    loaded = load_result(tmp_path / "run", small_supernet(), small_data())
    assert (loaded.best, loaded.record) == (result.best, result.record)
    assert loaded.evaluation == setting.evaluation
    loaded.export(tmp_path / "one")
    result.export(tmp_path / "other")
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert one["weights.safetensors"] == other["weights.safetensors"]
    description = json.loads(one["architecture.json"])
    assert description["architecture"] == list(result.best.architecture)
    assert description["test_top1"] == result.best.test_top1


def test_only_a_finished_run_of_this_supernet_and_data_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_result(tmp_path, small_supernet(), small_data())
    interrupt(tmp_path / "run", 2)
    with pytest.raises(InputError, match=r"run_dir: .*a finished search.*--resume"):
        load_result(tmp_path / "run", small_supernet(), small_data())
    run_search(tmp_path / "run", resume=True)
    with pytest.raises(InputError, match=r"run_dir: .*supernet: [0-9a-f]{32} there"):
        load_result(tmp_path / "run", small_supernet(1), small_data())
    with pytest.raises(InputError, match=r"run_dir: .*data: noise there, other now"):
        load_result(tmp_path / "run", small_supernet(), replace(small_data(), name="other"))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [((0,) * 7, "8 choices"), ((0,) * 9, "8 choices"), ((4,) + (0,) * 7, "0 to 3 for block 0")],
)
def test_a_wrong_architecture_is_not_exported(
    architecture: Architecture, message: str, tmp_path: Path
) -> None:
    target = tmp_path / "best"
    with pytest.raises(InputError, match=f"architecture: .*{message}"):
        export_architecture(
            target, small_supernet(), small_data(), architecture, raynas.Evaluation(), {}
        )
    assert not target.exists()


def test_images_that_do_not_fit_are_not_exported(tmp_path: Path) -> None:
    pixels = np.zeros((4, 1, 12, 12), dtype=np.uint8)
    calibration = make_shards(pixels, np.zeros(4, np.int64), split="calibration", shard_size=2)
    data = replace(small_data(), calibration=calibration)
    with pytest.raises(InputError, match="calibration images: expected shape"):
        export_architecture(
            tmp_path / "best", small_supernet(), data, (0,) * 8, raynas.Evaluation(), {}
        )
    assert not (tmp_path / "best").exists()
