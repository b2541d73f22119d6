"""Search spaces and architectures as values."""

from __future__ import annotations

from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import InputError
from raynas.space import SearchSpace, decode, encode

spaces = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(lambda n: SearchSpace(tuple(n)))


@st.composite
def spaces_and_prefixes(draw: st.DrawFn) -> tuple[SearchSpace, tuple[int, ...]]:
    space = draw(spaces)
    length = draw(st.integers(0, space.blocks))
    return space, tuple(draw(st.integers(0, n - 1)) for n in space.choices[:length])


@given(spaces_and_prefixes())
def test_enumerate_is_every_completion_in_order(
    case: tuple[SearchSpace, tuple[int, ...]],
) -> None:
    space, prefix = case
    everything = product(*(range(n) for n in space.choices))
    expected = [a for a in everything if a[: len(prefix)] == prefix]
    assert list(space.enumerate(prefix)) == expected == sorted(expected)
    assert space.count(prefix) == len(expected)


@given(spaces_and_prefixes(), st.integers(0, 2**32 - 1))
def test_samples_are_valid_and_keep_the_prefix(
    case: tuple[SearchSpace, tuple[int, ...]], seed: int
) -> None:
    space, prefix = case
    architecture = space.sample(np.random.default_rng(seed), prefix)
    assert space.validate(architecture) == architecture
    assert architecture[: len(prefix)] == prefix
    assert all(type(choice) is int for choice in architecture)
    assert space.sample(np.random.default_rng(seed), prefix) == architecture


def test_samples_reach_everything() -> None:
    space, rng = SearchSpace((2, 3, 2)), np.random.default_rng(0)
    assert {space.sample(rng) for _ in range(300)} == set(space.enumerate())


def test_counts_are_exact_beyond_64_bits() -> None:
    assert SearchSpace((4,) * 40).count() == 4**40
    assert list(islice(SearchSpace((4,) * 40).enumerate(), 1)) == [(0,) * 40]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).map(tuple))
def test_text_round_trip(architecture: tuple[int, ...]) -> None:
    assert decode(encode(architecture)) == architecture
    assert decode(encode(architecture).replace(",", " , ")) == architecture


@pytest.mark.parametrize("text", ["", "1,,2", "a", "1.5", "1,2,", "[1,2]"])
def test_text_that_is_no_architecture(text: str) -> None:
    with pytest.raises(InputError, match="integers separated by commas"):
        decode(text)


@pytest.mark.parametrize("choices", [(), (0,), (3, 0), (2, -1)])
def test_spaces_without_choices(choices: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="choices"):
        SearchSpace(choices)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ((0, 1), r"3 choices, one per block, got 2"),
        ((0, 1, 1, 0), r"3 choices, one per block, got 4"),
        ((0, 2, 1), r"from 0 to 1 for block 1, got 2"),
        ((-1, 0, 0), r"from 0 to 2 for block 0, got -1"),
    ],
)
def test_bad_architectures(architecture: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchSpace((3, 2, 4)).validate(architecture)


def test_prefixes() -> None:
    space = SearchSpace((3, 2))
    assert space.validate_prefix(np.array([2, 1])) == (2, 1)
    assert space.validate_prefix([]) == ()
    with pytest.raises(InputError, match="at most 2 choices, got 3"):
        space.validate_prefix((0, 0, 0))
    with pytest.raises(InputError, match="parent"):
        space.validate_prefix((3,), "parent")
