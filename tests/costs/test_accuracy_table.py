"""Accuracy tables: what choices lose, by hand; and files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from raynas.costs import AccuracyTable
from raynas.errors import InputError
from raynas.supernets import ChainSupernet
from raynas.supernets.checkpoints import weights_digest

TABLE = AccuracyTable(
    names=(("a", "b", "c"), ("a", "b")),
    accuracies=((0.7, 0.9, 0.85), (None, 0.6)),
    best=(1, 1),
    weights="x",
    data="digits",
    samples="y",
    executed=70,
    alone=100,
)


def test_lost_accuracy_by_hand() -> None:
    """t_best − t_i, at least 0; without an accuracy more than all others can lose together."""
    assert TABLE.lost.blocks == ((0.2, 0.0, 0.05), (1.2, 0.0))
    assert TABLE.lost.of((2, 1)) == 0.05
    assert TABLE.lost.of((0, 0)) == 1.4
    assert TABLE.lost.cheapest() == TABLE.best
    assert TABLE.largest_lost == (0.2, 0.0)
    assert TABLE.saved == pytest.approx(0.3)
    assert replace(TABLE, executed=0, alone=0).saved == 0.0


def test_scores_may_be_negative() -> None:
    table = replace(TABLE, accuracies=((-3.5, -1.0, -2.0), (-4.0, None)), best=(1, 0))
    assert table.lost.blocks == ((2.5, 0.0, 1.0), (0.0, 3.5))


def test_a_file_gives_the_table_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "table.json"
    TABLE.save(file)
    assert AccuracyTable.load(file) == TABLE
    assert AccuracyTable.load(str(file)).lost == TABLE.lost


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"accuracies": [[0.7, 0.9, 0.85], [None, None]]}, "finite accuracies in block 1"),
        ({"accuracies": [[0.7, 0.9, 1e999], [None, 0.6]]}, "finite accuracies in block 0"),
        ({"accuracies": [[0.7, 0.9], [None, 0.6]]}, "names of [2, 2] choices"),
        ({"best": [1, 0]}, "best choices with an accuracy"),
        ({"best": [1, 2]}, "a choice from 0 to 1 for block 1"),
        ({"best": None}, "NoneType"),
        ({"accuracies": 5}, "not iterable"),
        ({"format": 0}, "an accuracy table of format 1"),
        ({"weights": ...}, "weights"),
    ],
)
def test_a_damaged_file_is_named(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    TABLE.save(file)
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: v for name, v in content.items() if v is not ...}))
    with pytest.raises(InputError) as caught:
        AccuracyTable.load(file)
    assert caught.value.argument == "table"
    assert text in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": 1}'])
def test_a_file_of_something_else_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(InputError, match="a file that a progressive training wrote") as caught:
        AccuracyTable.load(file)
    assert str(file) in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        AccuracyTable.load(tmp_path / "none")


def test_a_table_belongs_to_weights_and_a_space() -> None:
    def supernet(choices: int) -> ChainSupernet:
        blocks = [[nn.Conv2d(1, 1, 1) for _ in range(count)] for count in (choices, 2)]
        head = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        return ChainSupernet(nn.Identity(), blocks, head, image_shape=(1, 2, 2), num_classes=3)

    own = supernet(3)
    table = replace(TABLE, weights=weights_digest(own))
    table.require_of(own)
    with pytest.raises(InputError, match="one of other weights"):
        table.require_of(supernet(3))
    with pytest.raises(InputError, match=r"\[4, 2\] choices per block"):
        table.require_of(supernet(4))
