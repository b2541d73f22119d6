"""Shards: what is put in comes out, also after pickling, and how a split is cut."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import InputError
from raynas.shards import shard as shards_module
from raynas.shards.features import StoredFeatures
from raynas.shards.shard import Shard, make_shards, partition


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


def test_features_are_a_read_only_view():
    with pytest.raises(ValueError, match="read-only"):
        build().features[0] = 0


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


def test_the_digest_changes_with_anything_that_counts():
    def digest(*shards: Shard) -> str:
        total = shards_module.ShardDigest()
        for shard in shards:
            total.update(shard)
        return total.hexdigest()

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
