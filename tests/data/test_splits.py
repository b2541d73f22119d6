"""`SearchData` as a value, and a look at all its splits before a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from raynas.data import ArrayImages, SearchData, Shard, inspect_splits, make_shards
from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.shards.inspection import Inspector
from raynas.task import Classification

INPUTS = Inputs((1, 2, 3))
PAIRS = TensorDataset(torch.zeros(4, 1, 2, 3), torch.zeros(4, dtype=torch.int64))


def shards(split: str, labels: Sequence[int] = (0, 1, 2, 0)) -> list[Shard]:
    return make_shards(INPUTS.examples(len(labels)), list(labels), split=split, shard_size=2)


def data(**changes: Any) -> SearchData:
    names = ("calibration", "validation", "test")
    return SearchData(**{"name": "x", "num_classes": 3, **{n: shards(n) for n in names}, **changes})


def look(inspected: SearchData) -> None:
    inspect_splits(inspected, Inspector(INPUTS, Classification(3)))


class Lazy(Sequence[Shard]):
    """Shards that note when they are read."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: Any) -> Any:
        self.reads.append(index)
        return self.shards[index]


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(shards("test"))


def test_a_data_set_shows_its_numbers_and_not_its_samples() -> None:
    assert repr(data(test=None)) == (
        "SearchData('x', num_classes=3, 0 training, 4 calibration, 4 validation, 0 test)"
    )
    lazy = Lazy(shards("test"))
    assert data(test=lazy).sizes()["test"] is None
    assert lazy.reads == []


def test_a_missing_split_is_read_as_empty() -> None:
    empty = data(calibration=None, test=None)
    assert (empty.calibration, empty.test) == ((), ())
    look(empty)
    assert replace(empty, test=shards("test")).test[0].rows == 2


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"num_classes": 1}, "num_classes"),
        ({"num_classes": 2.5}, "num_classes"),
        ({"num_classes": True}, "num_classes"),
        ({"train": DataLoader(PAIRS)}, "train"),
        ({"train": PAIRS}, "train"),
    ],
)
def test_data_that_cannot_be(changes: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        data(**changes)
    assert caught.value.argument == argument


def test_data_that_can_be() -> None:
    train = ArrayImages(INPUTS.examples(3), [0, 1, 2])
    assert data(num_classes=None, train=train).num_classes is None
    assert data(num_classes=np.int64(4)).num_classes == 4


@pytest.mark.parametrize("split", ["calibration", "validation", "test"])
@pytest.mark.parametrize(
    "wrong", [DataLoader(PAIRS), PAIRS, Stream(), iter([]), {0: 1}, [(1, 2)], "text", 3]
)
def test_splits_that_are_no_shards(split: str, wrong: object) -> None:
    with pytest.raises(InputError, match=f"{split}: .*shards.*from_arrays"):
        look(data(**{split: wrong}))


@pytest.mark.parametrize("split", ["calibration", "validation", "test"])
def test_every_shard_in_memory_is_looked_at(split: str) -> None:
    with pytest.raises(InputError, match=f"{split} labels: .* the first .3."):
        look(data(**{split: shards(split, (0, 1, 2, 3))}))
    large = make_shards(np.zeros((2, 1, 4, 6), np.uint8), [0, 1], split=split, shard_size=2)
    with pytest.raises(InputError, match=f"{split} images: expected shape"):
        look(data(**{split: tuple(large)}))


def test_only_the_first_of_other_shards_is_read() -> None:
    lazy = Lazy(shards("test", (0, 1, 2, 3)))
    look(data(test=lazy))
    assert lazy.reads == [0]
    with pytest.raises(InputError, match="test labels"):
        look(data(test=Lazy(shards("test", (0, 3, 2, 1)))))
    look(data(test=Lazy([])))


@pytest.mark.parametrize("given", ["calibration", "validation", "test"])
@pytest.mark.parametrize("split", ["calibration", "validation", "test"])
@pytest.mark.parametrize("kind", [list, Lazy])
def test_shards_of_another_split_are_refused_by_name(kind: Any, split: str, given: str) -> None:
    changed = data(**{split: kind(shards(given))})
    if given == split:
        look(changed)
        return
    with pytest.raises(InputError, match=f"{split}: .*got one of the {given} split") as caught:
        look(changed)
    assert f"split='{split}'" in caught.value.remedy


def test_activations_are_no_inputs() -> None:
    inputs = shards("validation")[0]
    deeper = Shard.build(
        inputs.stored, inputs.targets, inputs.samples, split="validation", prefix=(1,)
    )
    with pytest.raises(InputError, match=r"validation: .*behind the choices \[1\]"):
        look(data(validation=[deeper]))
