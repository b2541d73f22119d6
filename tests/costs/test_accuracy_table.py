"""Accuracy tables: what choices lose, by hand; and files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from raynas.costs import AccuracyTable
from raynas.costs.table_identity import identity_text
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize
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
        ({"best": [1, 0]}, "block 1 with its highest accuracy, 0.6, got choice 0 with None"),
        ({"best": [2, 1]}, "block 0 with its highest accuracy, 0.9, got choice 2 with 0.85"),
        ({"best": [1.0, 1.2]}, "best: 1.0, of another type"),
        ({"best": [True, 1]}, "best: True, of another type"),
        ({"accuracies": [[0.7, True, 0.85], [None, 0.6]]}, "block 0, at least one, got True"),
        ({"accuracies": [[0.7, "0.9", 0.85], [None, 0.6]]}, "block 0, at least one, got '0.9'"),
        ({"accuracies": [[0.7, 10**400, 0.85], [None, 0.6]]}, "block 0, at least one, got 1000"),
        ({"names": ["abc", ["a", "b"]]}, "names: 'abc', which is no list"),
        ({"names": [["a", "b", 3], ["a", "b"]]}, "names: 3, of another type"),
        ({"weights": 5}, "weights, objective, data, samples: 5, of another type"),
        ({"executed": 1.5}, "executed, alone: 1.5, of another type"),
        ({"inputs": "12"}, "inputs: '12', which is no list"),
        ({"supernet": "12"}, "supernet: '12', which is no identity"),
        ({"supernet": {"structure": "a", "behaviour": [["stem"]]}}, "which is no behaviour"),
        ({"best": [1, 2]}, "a choice from 0 to 1 for block 1"),
        ({"best": None}, "best: None, which is no list"),
        ({"accuracies": 5}, "accuracies: 5, which is no list"),
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


def test_a_number_that_no_float_holds_is_no_accuracy() -> None:
    with pytest.raises(InputError, match="finite accuracies in block 1"):
        replace(TABLE, accuracies=((0.7, 0.9, 0.85), (None, 10**400)))


def test_a_file_of_an_earlier_version_says_nothing_of_samples(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    TABLE.save(file)
    content = json.loads(file.read_text())
    del content["inputs"], content["supernet"]
    file.write_text(json.dumps(content))
    assert AccuracyTable.load(file) == TABLE


def test_a_table_belongs_to_weights_choices_and_samples() -> None:
    def supernet(choices: int, size: int = 2) -> ChainSupernet:
        blocks = [[nn.Conv2d(1, 1, 1) for _ in range(count)] for count in (choices, 2)]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))
        names = [list("abcd"[:choices]), list("ab")]
        return ChainSupernet(
            nn.Identity(), blocks, head, image_shape=(1, size, size), num_classes=3, names=names
        )

    own, larger = supernet(3), supernet(3, size=4)
    larger.load_state_dict(own.state_dict())
    unstated = replace(TABLE, weights=weights_digest(own))
    table = replace(unstated, inputs=(1, 2, 2))
    table.require_of(own)
    unstated.require_of(larger)
    with pytest.raises(InputError, match=r"of the shape \[1, 4, 4\], got one of \[1, 2, 2\]"):
        table.require_of(larger)
    with pytest.raises(InputError, match="one of other weights"):
        table.require_of(supernet(3))
    with pytest.raises(InputError, match=r"\[4, 2\] choices per block"):
        table.require_of(supernet(4))
    turned = replace(table, names=(("b", "a", "c"), ("a", "b")))
    with pytest.raises(InputError, match=r"\['a', 'b', 'c'\] in block 0, got \['b', 'a', 'c'\]"):
        turned.require_of(own)


@pytest.mark.parametrize("change", ["stride", "activation"])
def test_a_table_belongs_to_what_the_supernet_computes(change: str, tmp_path: Path) -> None:
    def supernet(changed: bool) -> ChainSupernet:
        stride = 2 if changed and change == "stride" else 1
        after = nn.Tanh() if changed and change == "activation" else nn.ReLU()
        choices = [[nn.Conv2d(1, 1, 3, 1, 1) for _ in range(count)] for count in (3, 2)]
        stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 1, 3, stride, 1), after)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))
        names = [list("abc"), list("ab")]
        return ChainSupernet(stem, choices, head, image_shape=(1, 8, 8), num_classes=3, names=names)

    own, other = supernet(False), supernet(True)
    other.load_state_dict(own.state_dict())
    assert weights_digest(other) == weights_digest(own)
    earlier = replace(TABLE, weights=weights_digest(own))
    earlier.require_of(other)
    table = replace(earlier, supernet=identity_text(own))
    table.save(tmp_path / "table.json")
    again = AccuracyTable.load(tmp_path / "table.json")
    assert again == table
    again.require_of(own)
    with pytest.raises(InputError, match=r"table: .*another supernet: what stem computes differ"):
        again.require_of(other)
