"""Training batches from memory: order, shifts and mirroring against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raynas.data.arrays import (
    ArrayImages,
    Labelled,
    crop_from_padding,
    in_memory,
    mirror,
    require_labels,
)
from raynas.errors import InputError

shapes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def noise(*shape: int) -> np.ndarray:
    """Random pixels, none of them black."""
    return np.random.default_rng(0).integers(1, 256, size=shape, dtype=np.uint8)


def numbered(count: int, **options) -> ArrayImages:
    """Images that know their label: every pixel is the label."""
    labels = np.arange(count, dtype=np.int64)
    images = np.broadcast_to(labels[:, None, None, None], (count, 1, 4, 4)).astype(np.uint8)
    return ArrayImages(images, labels, **options)


def epoch_of(images: ArrayImages, batch_size: int, seed: int = 0, epoch: int = 0):
    """All images and labels of an epoch."""
    batches = list(images.batches(batch_size, seed=seed, epoch=epoch))
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


@given(shapes, st.integers(0, 4), st.integers(0, 99))
def test_crop_from_padding_equals_a_loop(shape, pad, seed):
    images = noise(*shape)
    offsets = np.random.default_rng(seed).integers(0, 2 * pad + 1, size=(len(images), 2))
    cropped = crop_from_padding(images, offsets, pad)
    for image, (top, left), crop in zip(images, offsets, cropped, strict=True):
        expected = np.zeros_like(image)
        for y in range(shape[2]):
            for x in range(shape[3]):
                from_y, from_x = y + top - pad, x + left - pad
                if 0 <= from_y < shape[2] and 0 <= from_x < shape[3]:
                    expected[:, y, x] = image[:, from_y, from_x]
        assert np.array_equal(crop, expected)


@given(shapes, st.integers(0, 99))
def test_mirror_equals_a_loop(shape, seed):
    images = noise(*shape)
    which = np.random.default_rng(seed).random(len(images)) < 0.5
    for image, flipped, result in zip(images, which, mirror(images, which), strict=True):
        assert np.array_equal(result, np.flip(image, axis=2) if flipped else image)


@given(st.integers(1, 40), st.integers(1, 50))
def test_an_epoch_has_every_image_once_but_those_of_an_incomplete_batch(count, batch_size):
    batches = list(numbered(count).batches(batch_size, seed=0, epoch=0))
    sizes = [len(labels) for _, labels in batches]
    assert sizes == ([batch_size] * (count // batch_size) or [count])
    labels = torch.cat([labels for _, labels in batches])
    assert len(labels.unique()) == len(labels)


def test_batches_are_uint8_images_with_their_int64_labels():
    for images, labels in numbered(10).batches(4, seed=0, epoch=0):
        assert images.dtype == torch.uint8
        assert images.shape == (4, 1, 4, 4)
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 0, 2, 1].long(), labels)


def test_seed_and_epoch_alone_determine_an_epoch():
    data = ArrayImages(noise(30, 3, 5, 5), np.arange(30, dtype=np.int64), pad=2, flip=True)
    images, labels = epoch_of(data, 10)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = epoch_of(data, 10)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])
    for other in (epoch_of(data, 10, epoch=1), epoch_of(data, 10, seed=1)):
        assert not torch.equal(labels, other[1])


def test_augmentation_does_not_depend_on_the_batch_size():
    data = ArrayImages(noise(30, 1, 5, 5), np.arange(30, dtype=np.int64), pad=1, flip=True)
    assert torch.equal(epoch_of(data, 10)[0], epoch_of(data, 15)[0])


def test_about_half_are_mirrored_and_all_shifts_occur():
    marked = np.zeros((2000, 1, 7, 7), dtype=np.uint8)
    marked[:, :, 3, 3] = 255
    labels = np.zeros(2000, dtype=np.int64)
    shifted, _ = epoch_of(ArrayImages(marked, labels, pad=2), 500)
    places = {tuple(place) for place in shifted[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(y, x) for y in range(1, 6) for x in range(1, 6)}
    marked = np.roll(marked, 3, axis=3)
    flipped, _ = epoch_of(ArrayImages(marked, labels, flip=True), 500)
    assert 0.45 < (flipped[:, 0, 3, 0] == 255).double().mean() < 0.55


def test_changing_a_batch_does_not_change_the_data():
    data = numbered(8)
    before = data.images.copy()
    for images, labels in data.batches(8, seed=0, epoch=0):
        images.zero_()
        labels.zero_()
    assert np.array_equal(data.images, before)
    assert data.labels.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("images", "labels", "options", "argument"),
    [
        (noise(2, 1, 4, 4).astype(np.float64), np.arange(2), {}, "images"),
        (noise(2), np.arange(2), {}, "images"),
        (noise(2, 4, 4), np.arange(2), {"pad": 1}, "pad and flip"),
        (noise(2, 4, 4), np.arange(2), {"flip": True}, "pad and flip"),
        (noise(0, 1, 4, 4), np.arange(0), {}, "images"),
        (noise(2, 1, 4, 4), np.arange(3), {}, "labels"),
        (noise(2, 1, 4, 4), np.array(["cat", "dog"]), {}, "labels"),
        (noise(2, 1, 4, 4), np.array([True, False]), {}, "labels"),
        (noise(2, 1, 4, 4), np.arange(2), {"pad": -1}, "pad"),
    ],
)
def test_wrong_arrays_are_refused(images, labels, options, argument):
    with pytest.raises(InputError) as caught:
        ArrayImages(images, labels, **options)
    assert caught.value.argument == argument


def test_arrays_that_are_written_to_later_change_no_image():
    pixels, labels = noise(6, 1, 4, 4), np.arange(6)
    data = ArrayImages(pixels, labels)
    before = pixels.copy()
    pixels[:], labels[:] = 0, 0
    assert np.array_equal(data.images, before)
    assert data.labels.tolist() == list(range(6))
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.int32])
@pytest.mark.parametrize("targets", [np.arange(9), np.linspace(0, 1, 9), np.ones((9, 2, 2), int)])
def test_samples_and_targets_of_any_kind_stay_together(dtype, targets):
    samples = np.arange(9 * 4).reshape(9, 4).astype(dtype)
    data = ArrayImages(samples, targets)
    inputs, found = epoch_of(data, 3)
    rows = inputs[:, 0].numpy().astype(int) // 4
    assert inputs.numpy().dtype == dtype
    assert np.array_equal(inputs.numpy(), samples[rows])
    wanted = targets.astype(np.int64 if targets.dtype.kind == "i" else np.float32)
    assert np.array_equal(found.numpy(), wanted[rows])


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="batch_size: expected at least 1, got 0"):
        next(numbered(4).batches(0, seed=0, epoch=0))


def test_labels_outside_the_classes_are_refused():
    require_labels(np.array([0, 9]), 10, "file")
    with pytest.raises(InputError, match=r"file: expected labels from 0 to 9, got 2 others"):
        require_labels(np.array([3, 10, -1]), 10, "file")


def test_in_memory_gives_each_split_its_images():
    everything = Labelled(noise(40, 1, 4, 4), np.arange(40) % 3)
    names = ("calibration", "validation", "test", "train")
    splits = {name: everything.select_rows(np.arange(i, 40, 4)) for i, name in enumerate(names)}
    data = in_memory("noise", 3, splits, shard_size=4, pad=0, flip=False)
    for name in names[:3]:
        shards = getattr(data, name)
        assert [shard.rows for shard in shards] == [4, 3, 3]
        assert {shard.split for shard in shards} == {name}
        pixels = np.concatenate([shard.features for shard in shards])
        assert np.array_equal(pixels, splits[name].images)
        labels = np.concatenate([shard.labels for shard in shards])
        assert np.array_equal(labels, splits[name].labels)
    assert data.train is not None
    assert len(data.train) == 10
