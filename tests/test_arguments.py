"""Arguments of another type are refused by name, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_search import PCF, small_data, small_supernet
from torch import nn

import raynas
from raynas.errors import InputError

WRONG: dict[str, Callable[[], dict[str, Any]]] = {
    "supernet": lambda: {"supernet": nn.Linear(2, 2)},
    "data": lambda: {"data": [1, 2]},
    "validation": lambda: {"data": streamed()},
    "strategy": lambda: {"strategy": raynas.EA},
    "evaluation": lambda: {"evaluation": {"bits": 8}},
    "run_dir": lambda: {"run_dir": None},
    "ledger": lambda: {"ledger": 3},
    "observer": lambda: {"observer": 3},
    "pool": lambda: {"pool": 3},
}


def streamed() -> raynas.data.SearchData:
    data = small_data()
    shards: Any = (shard for shard in data.validation)
    return raynas.data.SearchData("streamed", data.num_classes, data.calibration, shards, ())


@pytest.mark.parametrize("argument", WRONG)
def test_a_search_names_the_argument(argument: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "supernet": small_supernet(),
        "data": small_data(),
        "strategy": PCF,
        "run_dir": tmp_path / "run",
        "workers": 0,
    }
    with pytest.raises(InputError) as caught:
        raynas.search(**given | WRONG[argument]())
    assert caught.value.argument == argument
    assert not (tmp_path / "run").exists()


def test_a_path_without_its_null_byte() -> None:
    with pytest.raises(InputError, match="run_dir"):
        raynas.check_search(small_supernet(), small_data(), run_dir="a\0b", workers=0)


@pytest.mark.parametrize("name", ["population", "generations", "top_k"])
@pytest.mark.parametrize("value", ["3", 2.5, float("inf"), True])
def test_strategies_count_in_whole_numbers(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a whole number"):
        raynas.EA(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
def test_training_counts_in_whole_numbers(name: str) -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    with pytest.raises(InputError, match=f"{name}: expected a whole number"):
        raynas.TrainingSettings(**settings | {name: 4.5})


def test_training_names_the_argument() -> None:
    settings = raynas.TrainingSettings(epochs=1, batch_size=8, learning_rate=0.1)
    images: Any = raynas.data.digits().train
    with pytest.raises(InputError, match="supernet: expected a ChainSupernet, got a Linear"):
        raynas.training.train(nn.Linear(2, 2), images, settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="settings: expected a TrainingSettings"):
        raynas.training.train(small_supernet(), images, None)  # type: ignore[arg-type]


def test_one_module_twice_is_no_two_choices() -> None:
    stem, choice = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\].*the very module of blocks\[0\]\[0\]"):
        raynas.ChainSupernet(stem, [[choice] * 2], head, image_shape=(1, 6, 6), num_classes=3)
    shared = [nn.Sequential(choice), nn.Sequential(choice, nn.ReLU())]
    raynas.ChainSupernet(stem, [shared, shared], head, image_shape=(1, 6, 6), num_classes=3)
    with pytest.raises(InputError, match="blocks: expected a list"):
        raynas.ChainSupernet(stem, 3, head, image_shape=(1, 6, 6), num_classes=3)  # type: ignore[arg-type]


def test_scores_that_are_not_finite_are_null_in_records() -> None:
    score = raynas.Score((0, 1), {"mse": float("nan"), "mae": 0.5}, float("inf"), finite=False)
    assert score.record()["mse"] is None
    again = raynas.Score.from_record(score.record())
    assert torch.tensor(again.value).isnan()
    assert again.objectives["mae"] == 0.5
