"""Names of choices: given, derived, read and written; nothing that is computed hangs on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize, digest, spos_8x8
from raynas.supernets.choice_names import SHORT, derive_names


def chain(names: Any = None) -> ChainSupernet:
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 2, 1))
    blocks = [[nn.ReLU(), nn.Tanh()], [nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Identity()]]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    return ChainSupernet(stem, blocks, head, image_shape=(1, 4, 4), num_classes=3, names=names)


def test_names_are_derived_from_classes() -> None:
    assert chain().names == (("relu", "tanh"), ("conv2d_0", "conv2d_1", "identity"))


def test_given_names_are_taken() -> None:
    supernet = chain([["a", "b"], ["k3", "k5", "skip"]])
    assert supernet.encode(["b", "skip"]) == (1, 2)
    assert supernet.decode((1, 0)) == ("b", "k3")


def test_the_names_of_spos_are_those_of_its_paper() -> None:
    supernet = spos_8x8()
    assert supernet.names == (("c3", "c5", "c7", "x"),) * 8
    assert supernet.encode(["c3", "x", "c5", "c7", "c3", "c3", "c3", "x"]) == (
        0,
        3,
        1,
        2,
        0,
        0,
        0,
        3,
    )


def test_indices_are_names_too() -> None:
    assert chain().encode(["0", "identity"]) == chain().encode([0, 2]) == (0, 2)


@given(st.data())
def test_encoding_is_the_inverse_of_decoding(data: st.DataObject) -> None:
    supernet = chain()
    architecture = tuple(data.draw(st.integers(0, n - 1)) for n in supernet.space.choices)
    assert supernet.encode(supernet.decode(architecture)) == architecture


KINDS = [nn.ReLU, nn.Tanh, nn.Identity]
KINDS += [type(name, (nn.Module,), {}) for name in ("A,b", "Relu_0", "L" * 40)]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
def test_derived_names_are_short_and_differ(kinds: list[type[nn.Module]]) -> None:
    names = derive_names([kind() for kind in kinds])
    assert len(set(names)) == len(kinds)
    assert all(SHORT.fullmatch(name) for name in names)


def test_names_are_no_part_of_the_identity() -> None:
    one = chain()
    other = chain([["a", "b"], ["c", "d", "e"]])
    other.load_state_dict(one.state_dict())
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("names", "argument"),
    [
        ([["a", "b"]], "names"),
        ([["a", "b"], ["c", "d"]], "names[1]"),
        ([["a", "a"], ["c", "d", "e"]], "names[0]"),
        ([["a", "1"], ["c", "d", "e"]], "names[0]"),
        ([["a", "b,c"], ["c", "d", "e"]], "names[0]"),
        ([["a", "b"], ["c", "d", "e" * 40]], "names[1]"),
        (["ab", ["c", "d", "e"]], "names[0]"),
        ([["a", None], ["c", "d", "e"]], "names[0]"),
    ],
)
def test_bad_names_are_refused(names: Any, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        chain(names)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "text", ["tanh,identity", " tanh , identity", "tanh identity", "1,2", "1 2"]
)
def test_texts_are_read_as_tables_print_them(text: str) -> None:
    assert chain().read(text) == (1, 2)


@pytest.mark.parametrize(
    "text", ["--1,0", "-,0", "1,,2", "1;2", "", "9" * 5000 + ",0", "²,0", None]
)
def test_texts_that_name_no_architecture_are_refused(text: Any) -> None:
    with pytest.raises(InputError) as caught:
        chain().read(text)
    assert caught.value.argument == "architecture"
    assert len(str(caught.value)) < 300


UNORDERED = [{"relu": 0, "identity": 1}, {"relu", "identity"}, b"01"]


NUMBERS = [[1.7, 0], [np.float64(0.9), 0], [np.True_, 0], [True, 0], [None, 0], [[1], 0]]


@pytest.mark.parametrize("chosen", [None, 5, *NUMBERS, *UNORDERED])
def test_what_names_no_choices_is_refused(chosen: Any) -> None:
    with pytest.raises(InputError) as caught:
        chain().encode(chosen)
    assert caught.value.argument == "architecture"


def test_indices_may_be_an_array() -> None:
    assert chain().encode(np.array([1, 2])) == chain().encode(iter([1, 2])) == (1, 2)


@pytest.mark.parametrize(
    "chosen", [["relu"], ["relu", "conv2d"], ["relu", 3], ["relu", -1], ["relu", "3"], "relu", []]
)
def test_a_choice_that_a_block_does_not_have_is_refused(chosen: Any) -> None:
    with pytest.raises(InputError, match="block") as caught:
        chain().encode(chosen)
    assert caught.value.argument == "architecture"


def test_the_error_lists_the_names_of_the_block() -> None:
    with pytest.raises(InputError, match="for block 1 one of conv2d_0, conv2d_1, identity"):
        chain().encode(["tanh", "relu"])
