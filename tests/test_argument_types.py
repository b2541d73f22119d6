"""Arguments of the wrong type: one error that names the argument, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raynas
from raynas.ledger.ledger import Ledger
from raynas.testing import small_data, small_supernet


def training(**changed: Any) -> raynas.TrainingSettings:
    """Settings of a training, some of them changed."""
    return raynas.TrainingSettings(
        **{"epochs": 3, "batch_size": 32, "learning_rate": 0.1, **changed}
    )


VALUES: dict[str, tuple[Callable[[Any], object], tuple[Any, ...]]] = {
    "population": (lambda value: raynas.EA(population=value), ("50", 2.5, True, None, 0)),
    "generations": (lambda value: raynas.EA(generations=value), ("2", 2.0, None)),
    "top_k": (lambda value: raynas.EA(top_k=value), (True, [1])),
    "survival": (lambda value: raynas.EA(survival=value), ("best", 3, None)),
    "crossover": (lambda value: raynas.EA(crossover=value), (1.5, "1", False)),
    "mutation_probability": (
        lambda value: raynas.EA(mutation_probability=value),
        ("0.1", None, float("nan"), True),
    ),
    "threshold": (lambda value: raynas.PCFES(threshold=value), ("0.7", None, float("nan"))),
    "block_ratio": (lambda value: raynas.PCFES(block_ratio=value), ("0.5", None)),
    "monitor": (lambda value: raynas.PCFES(monitor=value), (1.5, "3", True)),
    "epochs": (lambda value: training(epochs=value), ("3", 2.5, None, True)),
    "batch_size": (lambda value: training(batch_size=value), (32.0, None)),
    "learning_rate": (lambda value: training(learning_rate=value), ("0.1", None, True)),
    "clip": (lambda value: training(clip=value), ("1", [1.0])),
    "seed": (lambda value: training(seed=value), ("0", 1.5, None)),
    "inputs.shape": (lambda value: raynas.Inputs(value), ("ab", (True,), (2.5,), None)),
    "inputs.vocabulary": (
        lambda value: raynas.Inputs((4,), "int64", value),
        ("20", 2.5, True),
    ),
}

CASES = [(name, value) for name, (_, values) in VALUES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=str)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(raynas.InputError) as caught:
        VALUES[name][0](value)
    assert caught.value.argument == name


def test_numbers_of_numpy_are_numbers() -> None:
    assert raynas.EA(population=np.int64(4)).population == 4
    assert raynas.PCFES(threshold=np.float64(0.5)).threshold == 0.5
    assert training(epochs=np.int32(2), learning_rate=np.float32(0.5)).epochs == 2
    assert raynas.Inputs(8).shape == raynas.Inputs((np.int64(8),)).shape == (8,)


SEARCHES: dict[str, tuple[Any, ...]] = {
    "supernet": (None, torch.nn.Linear(2, 2)),
    "data": (None, [1]),
    "strategy": ("pcf", raynas.PCFES, None),
    "evaluation": ({}, "fast", 0),
    "run_dir": (None, 3),
    "ledger": (3,),
    "pool": (2, "local"),
    "observer": (3,),
    "seed": (1.5, "0", -1),
    "workers": ("2", -1, 1.5),
    "resume": ("no", 1, None),
    "progress": ("yes", 0),
}

SEARCHED = [(name, value) for name, values in SEARCHES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), SEARCHED, ids=str)
def test_an_argument_of_another_type_is_refused_by_name(
    name: str, value: Any, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "supernet": small_supernet(blocks=2, choices=2),
        "data": small_data(),
        "strategy": raynas.EA(population=2, generations=1, top_k=1),
        "run_dir": tmp_path / "run",
        "workers": 0,
        name: value,
    }
    with pytest.raises(raynas.InputError) as caught:
        raynas.search(given.pop("supernet"), given.pop("data"), **given)
    assert caught.value.argument == name
    assert not (tmp_path / "run").exists()


IMAGES = np.zeros((4, 1, 6, 6), np.uint8)

FLAGS: dict[str, Callable[[Any], object]] = {
    "resume of check_search": lambda value: raynas.check_search(
        small_supernet(), small_data(), run_dir="nowhere", resume=value
    ),
    "resume of search_with": lambda value: raynas.search_with(
        None,
        None,
        strategy=raynas.EA(),
        run_dir="nowhere",
        resume=value,  # type: ignore[arg-type]
    ),
    "flip": lambda value: raynas.data.ArrayImages(IMAGES, np.zeros(4, np.int64), flip=value),
    "flip of from_arrays": lambda value: raynas.data.from_arrays(
        np.zeros((40, 1, 6, 6), np.uint8), np.arange(40) % 2, name="zeros", flip=value
    ),
    "download": lambda value: raynas.data.cifar10("nowhere", download=value),
    "download of fashion": lambda value: raynas.data.fashion_mnist("nowhere", download=value),
    "train": lambda value: raynas.data.imagenet("nowhere", train=value),
    "reverse_channels": lambda value: raynas.supernets.Normalize(
        (0.5,), (0.5,), reverse_channels=value
    ),
    "stochastic": lambda value: small_supernet().check(stochastic=value),
    "read_only": lambda value: Ledger(read_only=value),
}


@pytest.mark.parametrize("value", ["no", 1, None])
@pytest.mark.parametrize("name", FLAGS)
def test_what_is_no_truth_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(raynas.InputError) as caught:
        FLAGS[name](value)
    assert (caught.value.argument, caught.value.expected) == (name.split()[0], "True or False")


@pytest.mark.parametrize("value", [3, "fast"])
@pytest.mark.parametrize("name", ["supernet", "evaluation"])
def test_a_pool_of_something_else_is_refused_by_name(name: str, value: Any) -> None:
    given = {"supernet": small_supernet(), "evaluation": raynas.Evaluation(), name: value}
    with pytest.raises(raynas.InputError) as caught, raynas.open_pool(**given, workers=0):
        pass
    assert caught.value.argument == name


@pytest.mark.parametrize("architectures", [None, 3])
def test_what_is_no_list_of_architectures_is_refused(architectures: Any) -> None:
    with pytest.raises(raynas.InputError, match="architectures: expected a list"):
        raynas.evaluate(small_supernet(blocks=2), small_data(), architectures)
