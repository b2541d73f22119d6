"""Shards: what is put in comes out, also after pickling, and how a split is cut."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raynas.errors import InputError
from raynas.inputs import DTYPES
from raynas.shards import shard as shards_module
from raynas.shards.features import StoredFeatures
from raynas.shards.shard import Shard, make_shards, partition
from raynas.shards.storage import decode, encode


def build(dtype: type = np.uint8, **options) -> Shard:
    features = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5).astype(dtype)
    if dtype != np.uint8:
        features = StoredFeatures(features, np.dtype(dtype).name, features.shape[1:])
    return Shard.build(
        features, np.array([2, 0, 1]), np.array([5, 7, 9]), **{"split": "validation"} | options
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_columns_and_metadata_survive_pickling(dtype):
    weights = np.array([0.5, 1.0, 2.0])
    shard = build(dtype, weights=weights, prefix=(2, 1))
    for copy in (shard, pickle.loads(pickle.dumps(shard))):
        assert copy.features.dtype == dtype
        assert np.array_equal(copy.features, np.arange(120).reshape(3, 2, 4, 5).astype(dtype))
        assert (copy.labels.tolist(), copy.samples.tolist()) == ([2, 0, 1], [5, 7, 9])
        assert np.array_equal(copy.weights, weights)
        assert (copy.rows, copy.prefix, copy.split) == (3, (2, 1), "validation")
        assert copy.stored.quantization == ("none" if dtype == np.uint8 else np.dtype(dtype).name)
        assert copy.stored.shape == (2, 4, 5)
        assert copy.stored.channels is None


def test_what_codes_stand_for_travels_with_them_to_the_last_bit():
    channels = np.array([[0.1, -0.0], [np.float32(1e-45), 3e38], [255, 252]], dtype=np.float32)
    codes = np.arange(18, dtype=np.uint8).reshape(3, 6)
    shard = Shard.build(
        StoredFeatures(codes, "affine4", (2, 2, 3), channels),
        np.array([2, 0, 1]),
        np.array([5, 7, 9]),
        split="calibration",
        prefix=(1,),
    )
    buffers: list[pickle.PickleBuffer] = []
    travelled = pickle.dumps(shard, protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(travelled, buffers=buffers)
    assert (copy.prefix, copy.split, copy.rows) == ((1,), "calibration", 3)
    assert (copy.stored.quantization, copy.stored.shape) == ("affine4", (2, 2, 3))
    assert copy.stored.channels.tobytes() == channels.tobytes()
    assert np.array_equal(copy.features, codes)
    # Zero-copy: pickling hands out the memory itself, and so does unpickling.
    assert np.shares_memory(copy.features, shard.features)


@pytest.mark.parametrize("column", ["features", "labels", "targets", "samples", "weights"])
def test_columns_are_read_only_views(column):
    with pytest.raises(ValueError, match="read-only"):
        getattr(build(), column)[0] = 0


@pytest.mark.parametrize("targets", [np.arange(3), np.ones(3, np.float32), np.ones((3, 2), int)])
def test_a_shard_owns_its_bytes(targets):
    given = [np.arange(12, dtype=np.uint8).reshape(3, 4), targets.copy(), np.arange(3), np.ones(3)]
    before = [array.copy() for array in given]
    shard = Shard.build(*given, split="test")
    made = make_shards(given[0], given[1], split="test", shard_size=3)[0]
    for array in given:
        array[:] = 77
    for each in (shard, made):
        columns = (each.features, each.targets, each.samples, each.weights)
        for column, wanted in zip(columns, before, strict=True):
            assert np.array_equal(column, wanted)


INPUT_SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)
TARGET_SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)
FINITE = {"allow_nan": False, "allow_infinity": False}


@st.composite
def samples_and_targets(draw):
    """Arrays of any kind that shards store, of 1 to 6 samples."""
    count = draw(st.integers(1, 6))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements = {"elements": FINITE} if dtype.kind == "f" else {}
    inputs = draw(arrays.arrays(dtype, (count, *draw(INPUT_SHAPES)), **elements))
    kind = np.dtype(draw(st.sampled_from([np.int64, np.float32])))
    elements = {"elements": FINITE} if kind.kind == "f" else {}
    targets = draw(arrays.arrays(kind, (count, *draw(TARGET_SHAPES)), **elements))
    return inputs, targets


@settings(max_examples=60)
@given(samples_and_targets(), st.integers(1, 6))
def test_samples_and_targets_of_any_kind_survive(pair, shard_size):
    inputs, targets = pair
    made = make_shards(inputs, targets, split="validation", shard_size=shard_size)
    copies = [pickle.loads(pickle.dumps(shard)) for shard in made]
    for found, wanted in (("features", inputs), ("targets", targets)):
        columns = [getattr(shard, found) for shard in copies]
        assert {column.dtype for column in columns} == {wanted.dtype}
        assert np.concatenate(columns).tobytes() == wanted.tobytes()
        assert np.concatenate(columns).shape == wanted.shape
    assert digest(*copies) == digest(*made)
    rows = [np.arange(shard.rows) for shard in copies]
    whole = shards_module.gather(copies, rows, np.ones(len(inputs)))
    assert whole.features.tobytes() == inputs.tobytes()
    assert whole.targets.tobytes() == targets.tobytes()


@settings(max_examples=40)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=5, max_side=4),
        elements=st.floats(width=32),
    ),
    st.sampled_from([32, 16, 8, 4]),
)
def test_stored_activations_survive_at_every_width(activations, bits):
    stored = encode(torch.tensor(activations), bits)
    count = len(activations)
    shard = Shard.build(stored, np.zeros(count), np.arange(count), split="test", prefix=(1,))
    copy = pickle.loads(pickle.dumps(shard))
    one, other = (decode(each, torch.device("cpu")).numpy() for each in (stored, copy.stored))
    assert one.shape == activations.shape
    assert np.array_equal(one, other, equal_nan=True)


def test_labels_are_class_indices_only():
    shard = Shard.build(
        np.zeros((3, 2), np.float32), np.array([0.5, 1, 2]), np.arange(3), split="test"
    )
    assert shard.targets.tolist() == [0.5, 1.0, 2.0]
    assert shard.targets.dtype == np.float32
    with pytest.raises(InputError, match=r"test labels: expected one class index .* float32 \[3\]"):
        _ = shard.labels
    assert np.array_equal(build().labels, build().targets)


@pytest.mark.parametrize(
    ("features", "targets", "samples", "argument"),
    [
        (np.zeros((3, 2)), np.zeros(3, int), np.arange(3), "test inputs"),
        (np.zeros(3, np.uint8), np.zeros(3, int), np.arange(3), "test inputs"),
        (np.zeros((3, 2), np.uint8), np.zeros(2, int), np.arange(3), "test targets"),
        (np.zeros((3, 2), np.uint8), np.zeros(3, bool), np.arange(3), "test targets"),
        (np.zeros((3, 2), np.uint8), np.zeros(3, int), np.arange(2), "test samples and weights"),
    ],
)
def test_what_a_shard_cannot_hold_is_refused(features, targets, samples, argument):
    with pytest.raises(InputError) as caught:
        Shard.build(features, targets, samples, split="test")
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "weights",
    [
        [1, np.nan, 1],
        [1, -1, 1],
        [0, 0, 0],
        [1, np.inf, 1],
        [1e308] * 3,
        np.ones((3, 2)),
        ["a"] * 3,
    ],
    ids=str,
)
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(InputError) as caught:
        Shard.build(
            np.zeros((3, 2), np.uint8), np.zeros(3, int), np.arange(3), weights, split="test"
        )
    assert caught.value.argument == "test weights"


def test_weights_of_any_numbers_are_kept():
    for weights in ([0, 2, 1], np.array([0, 2, 1], np.float32), torch.tensor([0.0, 2.0, 1.0])):
        given = (np.zeros((3, 2), np.uint8), np.zeros(3, int), np.arange(3), weights)
        assert Shard.build(*given, split="test").weights.tolist() == [0.0, 2.0, 1.0]


def test_weights_are_one_if_omitted():
    assert build().weights.tolist() == [1.0, 1.0, 1.0]


@given(st.integers(1, 2000), st.integers(1, 300))
def test_a_split_is_cut_evenly(count, shard_size):
    pieces = partition(count, shard_size, "test")
    sizes = [len(piece) for piece in pieces]
    assert np.concatenate(pieces).tolist() == list(range(count))
    assert max(sizes) <= shard_size
    assert max(sizes) - min(sizes) <= 1
    assert len(pieces) == -(-count // shard_size)


def test_making_shards_keeps_images_and_labels_together():
    images = np.random.default_rng(0).integers(0, 256, (10, 1, 2, 2), dtype=np.uint8)
    labels = np.arange(10)
    made = make_shards(images, labels, split="test", shard_size=4)
    assert [shard.rows for shard in made] == [4, 3, 3]
    for shard in made:
        assert np.array_equal(shard.features, images[shard.samples])
        assert np.array_equal(shard.labels, labels[shard.samples])


@pytest.mark.parametrize(("count", "size", "argument"), [(0, 4, "test"), (4, 0, "shard_size")])
def test_nothing_to_cut_is_refused(count, size, argument):
    with pytest.raises(InputError) as caught:
        partition(count, size, "test")
    assert caught.value.argument == argument


def digest(*shards: Shard) -> str:
    total = shards_module.ShardDigest()
    for shard in shards:
        total.update(shard)
    return total.hexdigest()


def test_the_digest_of_images_and_labels_stays_what_it_was():
    # Ledgers and records of earlier versions hold it.
    assert digest(build()) == "28fe45d2fbdde83d98e7b6c97c84078d"


def test_the_digest_knows_types_and_shapes_of_equal_bytes():
    words = np.zeros((4, 6), np.int32)
    samples = [words, words.view(np.float32), words.reshape(4, 3, 2), words.view(np.int64)]
    numbers = np.zeros(4, np.int64)
    targets = [numbers, numbers[:, None], numbers.view(np.float32).reshape(4, 2)]
    variants = [
        digest(Shard.build(each, target, np.arange(4), split="test"))
        for each in samples
        for target in targets
    ]
    assert len(set(variants)) == len(variants)


def test_the_digest_changes_with_anything_that_counts():
    one = build()
    variants = [
        digest(one),
        digest(one, one),
        digest(build(np.float32)),
        digest(build(weights=np.array([1.0, 1.0, 2.0]))),
        digest(build(split="test")),
        digest(build(prefix=(1,))),
    ]
    assert len(set(variants)) == len(variants)
    assert digest(build()) == variants[0]
    assert digest(pickle.loads(pickle.dumps(one))) == variants[0]


def test_features_keep_their_axes_whatever_their_strides():
    values = np.arange(6, dtype=np.float32)
    strided = np.lib.stride_tricks.as_strided(values, (2, 3, 1, 1), (12, 4, 12, 12))
    shard = Shard.build(strided, np.zeros(2), np.arange(2), split="validation")
    assert shard.features.shape == (2, 3, 1, 1)
    assert np.array_equal(shard.features.ravel(), values)


def test_activations_of_another_order_of_bytes_are_kept_by_value() -> None:
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)
    shard = Shard.build(values.astype(">f4"), np.arange(4), np.arange(4), split="validation")
    np.testing.assert_array_equal(shard.features, values)
