"""Shards that do not fit a supernet or a task: named, with the likely remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.shards.inspection import InspectedShards, Inspector, require_inputs
from raynas.shards.shard import Shard, make_shards
from raynas.task import Classification, PerSample

IMAGES = Inputs((1, 4, 5))
COLOUR = Inputs((3, 4, 5))
TOKENS = Inputs((6,), "int64", vocabulary=10)
FLOATS = Inputs((1, 4, 5), "float32")


def closeness(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    errors = (outputs[:, 0] - targets).abs()
    return -errors, errors


def shard(values: np.ndarray, targets: object = None) -> Shard:
    count = len(values)
    known = np.zeros(count, np.int64) if targets is None else targets
    return make_shards(values, known, split="validation", shard_size=count)[0]


@pytest.mark.parametrize(
    ("inputs", "values", "message"),
    [
        (IMAGES, np.zeros((2, 4, 5), np.uint8), r"images: .*Add the channel: images\[:, None\]"),
        (IMAGES, np.zeros((2, 4, 5, 1), np.uint8), r"images\.transpose\(0, 3, 1, 2\)"),
        (COLOUR, np.zeros((2, 4, 5, 3), np.uint8), r"images\.transpose\(0, 3, 1, 2\)"),
        (COLOUR, np.zeros((2, 3, 5, 4), np.uint8), "Resize the images"),
        (IMAGES, np.full((2, 1, 4, 5), 0.5, np.float32), r"0\.5 to 0\.5\. Give numpy\.rint\(255"),
        (IMAGES, np.full((2, 1, 4, 5), 99, np.float32), "Give bytes from 0 to 255 as uint8"),
        (IMAGES, np.zeros((2, 1, 4, 5), np.int64), "expected uint8"),
        (FLOATS, np.zeros((2, 1, 4, 5), np.uint8), "expected float32.*got uint8"),
        (FLOATS, np.zeros((2, 1, 4, 5), np.float16), "expected float32.*got float16"),
        (TOKENS, np.zeros((2, 7), np.int64), r"inputs: expected shape \(6,\)"),
        (TOKENS, np.zeros((2, 6), np.int32), "expected int64.*got int32"),
        (TOKENS, np.full((2, 6), 10), "token ids from 0 to 9.*got 10 to 10"),
        (TOKENS, np.full((2, 6), -1), "token ids from 0 to 9.*got -1 to -1"),
    ],
)
def test_samples_that_do_not_fit(inputs: Inputs, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Inspector(inputs, Classification(3))(shard(values))
    assert caught.value.argument.startswith("validation ")


def test_floats_that_are_not_finite() -> None:
    values = np.zeros((3, 1, 4, 5), np.float32)
    values[2, 0, 1, 1] = np.inf
    lazily = Shard.build(values, np.zeros(3, int), np.arange(3), split="test")
    with pytest.raises(InputError, match=r"test images: .* infinity in sample 2"):
        Inspector(FLOATS, Classification(3))(lazily)


@pytest.mark.parametrize("inputs", [IMAGES, COLOUR, FLOATS, TOKENS, Inputs((7,), "float16")])
def test_samples_that_fit(inputs: Inputs) -> None:
    require_inputs(inputs.examples(5), inputs, "samples")
    Inspector(inputs, Classification(3))(shard(inputs.examples(5)))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1, 3], "labels: expected 0 to 2, .* got 1 others, the first .3."),
        ([0, -100, 2], "the first .-100."),
        ([0.0, 1.0, 2.0], r"labels: expected one class index .* float32 \[3\]"),
        (np.eye(3, dtype=int), "not one-hot"),
        (np.zeros((3, 1), int), r"int64 \[3, 1\]"),
    ],
)
def test_labels_that_do_not_fit(targets: object, message: str) -> None:
    with pytest.raises(InputError, match=f"validation {message}|{message}"):
        Inspector(IMAGES, Classification(3))(shard(IMAGES.examples(3), targets))


def test_targets_of_another_task_are_of_one_kind() -> None:
    inspector = Inspector(IMAGES, PerSample(closeness))
    inspector(shard(IMAGES.examples(3), [0.5, 1.5, 2.5]))
    inspector(shard(IMAGES.examples(2), [0.5, 1.5]))
    for other in ([1, 2, 3], np.ones((3, 2), np.float32)):
        with pytest.raises(InputError, match="validation targets: expected float32 of shape"):
            inspector(shard(IMAGES.examples(3), other))


def test_shards_are_looked_at_when_they_are_read() -> None:
    good, bad = shard(IMAGES.examples(3)), shard(IMAGES.examples(3), [7, 7, 7])
    inspected = InspectedShards([good, bad], Inspector(IMAGES, Classification(3)))
    assert len(inspected) == 2
    assert inspected[0] is good
    assert torch.equal(torch.tensor(inspected[:1][0].labels), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match=r"the first .7, 7, 7."):
        inspected[1]
    mixed = InspectedShards([(1, 2)], Inspector(IMAGES, Classification(3)))  # type: ignore[list-item]
    with pytest.raises(InputError, match="a tuple"):
        mixed[0]


def test_weights_beside_a_selection() -> None:
    given = (np.zeros((3, 1, 4, 5), np.uint8), np.zeros(3, int), np.arange(3), np.array([1, 2, 1]))
    selecting = Inspector(IMAGES, Classification(3), selects=True)
    with pytest.raises(InputError, match=r"validation weights: .* below 1, got 1 to 2\."):
        selecting(Shard.build(*given, split="validation"))
    selecting(Shard.build(*given, split="test"))
    selecting(shard(given[0]))
    Inspector(IMAGES, Classification(3))(Shard.build(*given, split="validation"))
