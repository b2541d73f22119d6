"""The bundled digits, as they are in scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from raynas.data import digits
from raynas.errors import InputError
from raynas.supernets import spos_8x8


@pytest.fixture(scope="module")
def data():
    return digits()


def pixels_of(shards) -> np.ndarray:
    """All images of a split."""
    return np.concatenate([shard.features for shard in shards])


def test_sizes_shapes_and_dtypes(data):
    assert [sum(s.rows for s in split) for split in (data.calibration, data.validation)] == [
        200,
        300,
    ]
    assert [shard.rows for shard in data.test] == [90, 90, 90, 90]
    assert len(data.train) == 1797 - 860
    assert (data.name, data.num_classes) == ("digits", 10)
    for shard in data.calibration:
        assert shard.features.shape == (100, 1, 8, 8)
        assert shard.features.dtype == np.uint8
        assert (shard.prefix, shard.split) == ((), "calibration")
    images, labels = next(data.train.batches(64, seed=0, epoch=0))
    assert images.shape == (64, 1, 8, 8)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)


def test_the_splits_together_are_the_data_set(data):
    splits = [data.calibration, data.validation, data.test]
    images = np.concatenate([*map(pixels_of, splits), data.train.images]).reshape(-1, 64)
    labels = np.concatenate([s.labels for split in splits for s in split] + [data.train.labels])
    bundled = load_digits()
    ours = sorted(zip(map(bytes, images), labels.tolist(), strict=True))
    scaled = np.rint(bundled.data * 255 / 16).astype(np.uint8)
    assert ours == sorted(zip(map(bytes, scaled), bundled.target.tolist(), strict=True))


def test_every_shard_has_every_class(data):
    for shard in [*data.calibration, *data.validation, *data.test]:
        counts = np.bincount(shard.labels, minlength=10)
        assert counts.min() >= 7


def test_the_supernet_normalises_by_the_pixels():
    recipe = spos_8x8().recipe
    scaled = np.rint(load_digits().data * 255 / 16) / 255
    assert recipe["mean"] == pytest.approx([scaled.mean()], abs=5e-5)
    assert recipe["std"] == pytest.approx([scaled.std()], abs=5e-5)


def test_too_large_sizes_are_refused():
    with pytest.raises(InputError, match=r"calibration \+ validation \+ test: .*at most 1796"):
        digits(calibration=1000, validation=437, test=360)
    assert len(digits(calibration=1000, validation=436, test=360).train) == 1


@pytest.mark.parametrize("option", ["calibration", "validation", "test", "shard_size"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(InputError) as caught:
        digits(**{option: 0})
    assert caught.value.argument == option
