"""Stratified parts: disjoint, complete, proportional, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.data.stratify import stratified_order, stratified_split
from raynas.errors import InputError

class_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)


def labels_of(sizes: list[int], seed: int) -> np.ndarray:
    """Labels in a mixed order, `sizes[c]` of class c."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@given(class_sizes, seeds, st.data())
def test_parts_are_disjoint_and_rest_is_what_is_left(sizes, seed, data):
    labels = labels_of(sizes, seed)
    if len(labels) < 3:
        labels = np.zeros(3, dtype=np.int64)
    first = data.draw(st.integers(1, len(labels) - 2))
    second = data.draw(st.integers(1, len(labels) - 1 - first))
    parts = stratified_split(labels, {"a": first, "b": second}, seed, rest="c")
    assert list(parts) == ["a", "b", "c"]
    assert (len(parts["a"]), len(parts["b"])) == (first, second)
    together = np.concatenate(list(parts.values()))
    assert np.array_equal(np.sort(together), np.arange(len(labels)))


@given(st.integers(1, 12), st.integers(1, 20), seeds, st.data())
def test_equal_classes_are_drawn_equally(classes, each, seed, data):
    labels = labels_of([each] * classes, seed)
    start = data.draw(st.integers(0, len(labels)))
    stop = data.draw(st.integers(start, len(labels)))
    run = labels[stratified_order(labels, seed)[start:stop]]
    counts = np.bincount(run, minlength=classes)
    assert counts.max() - counts.min() <= 1


@given(class_sizes, seeds, st.floats(0, 1))
def test_every_prefix_has_the_proportions_of_the_whole(sizes, seed, share):
    labels = labels_of(sizes, seed)
    size = round(share * len(labels))
    counts = np.bincount(labels[stratified_order(labels, seed)[:size]], minlength=len(sizes))
    expected = size * np.array(sizes) / len(labels)
    # One image for rounding within the class, one for the rounding of all other classes.
    assert np.abs(counts - expected).max() <= 2


def test_classes_of_one_image_do_not_fall_together():
    labels = np.concatenate([np.zeros(1000, dtype=np.int64), np.arange(1, 101)])
    part = stratified_split(labels, {"part": 110}, 0)["part"]
    assert np.count_nonzero(labels[part]) in (9, 10, 11)


def test_the_seed_alone_determines_the_parts():
    labels = labels_of([20, 30, 40], 0)
    one = stratified_split(labels, {"a": 10}, 1)["a"]
    state = np.random.get_state()  # noqa: NPY002
    again = stratified_split(labels, {"a": 10}, 1)["a"]
    other = stratified_split(labels, {"a": 10}, 2)["a"]
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(InputError, match="validation: expected at least 1 image"):
        stratified_split(np.zeros(9, dtype=np.int64), {"validation": size}, 0)


@pytest.mark.parametrize(("rest", "most"), [(None, 9), ("train", 8)])
def test_more_than_there_is_is_refused(rest, most):
    labels = np.zeros(9, dtype=np.int64)
    assert len(stratified_split(labels, {"a": 1, "b": most - 1}, 0, rest=rest)["b"]) == most - 1
    with pytest.raises(
        InputError, match=rf"a \+ b: expected at most {most} images.*got {most + 1}"
    ):
        stratified_split(labels, {"a": 1, "b": most}, 0, rest=rest)
