"""The ImageNet layout, on trees of a few small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raynas.data import imagenet
from raynas.data.decoding import DecodedShards
from raynas.errors import InputError

CLASSES = ("n01", "n02", "n03")


def write_tree(root: Path, *, train: int = 20, val: int = 10) -> None:
    """So many images for each class; the red of every pixel numbers the image."""
    number = 0
    for split, count in (("train", train), ("val", val)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for row in range(count):
                colour = (number, 90, 200)
                Image.new("RGB", (20, 16), colour).save(folder / f"{row}.png")
                number += 1


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("imagenet")
    write_tree(folder)
    return folder


def small(root: Path, **options):
    sizes = {"calibration": 12, "validation": 15, "image_size": 8, "resize": 10, "threads": 2}
    return imagenet(root, **sizes | options)


def numbers(shards) -> list[int]:
    """Which images are in a split."""
    return [int(image[0, 0, 0]) for shard in shards for image in shard.features]


def test_splits_are_disjoint_stratified_and_from_their_folders(root):
    data = small(root, shard_size=6)
    assert (data.name, data.num_classes, data.train) == ("imagenet", 3, None)
    assert isinstance(data.test, DecodedShards)
    calibration, validation, test = map(numbers, (data.calibration, data.validation, data.test))
    assert (len(calibration), len(validation)) == (12, 15)
    assert len(set(calibration + validation)) == 27
    assert max(calibration + validation) < 60
    assert sorted(test) == list(range(60, 90))
    for shards, each in ((data.calibration, 4), (data.validation, 5), (data.test, 10)):
        labels = np.concatenate([shard.labels for shard in shards])
        assert np.bincount(labels).tolist() == [each] * 3
        assert all(shard.features.shape[1:] == (3, 8, 8) for shard in shards)
    assert [shard.split for shard in data.calibration] == ["calibration"] * 2
    assert {shard.split for shard in data.test} == {"test"}


def test_labels_belong_to_their_images(root):
    data = small(root)
    for shards, offset, each in ((data.validation, 0, 20), (data.test, 60, 10)):
        for shard in shards:
            assert np.array_equal((shard.features[:, 0, 0, 0] - offset) // each, shard.labels)


def test_the_splits_are_the_same_every_time(root):
    one, again = small(root), small(root)
    assert numbers(one.validation) == numbers(again.validation)


def test_training_images_are_what_the_other_splits_leave(root):
    data = small(root, train=True)
    assert len(data.train) == 60 - 27
    batches = list(data.train.batches(33, seed=0, epoch=0))
    assert [tuple(images.shape) for images, _ in batches] == [(33, 3, 8, 8)]
    images, labels = batches[0]
    trained = images[:, 0, 0, 0].tolist()
    held = numbers(data.calibration) + numbers(data.validation)
    assert sorted(trained + held) == list(range(60))
    assert torch.equal(images[:, 0, 0, 0] // 20, labels)


def test_a_part_of_val_is_stratified(root):
    data = small(root, test=9)
    labels = np.concatenate([shard.labels for shard in data.test])
    assert np.bincount(labels).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"calibration": 0}, "calibration"),
        ({"validation": 0}, "validation"),
        ({"test": 0}, "test"),
        ({"test": 31}, "test"),
        ({"shard_size": 0}, "shard_size"),
        ({"image_size": 0}, "image_size"),
        ({"resize": 7}, "resize"),
        ({"threads": 0}, "threads"),
        ({"calibration": 46}, "calibration + validation"),
        ({"calibration": 45, "train": True}, "calibration + validation"),
    ],
)
def test_sizes_that_cannot_be_are_refused(root, options, argument):
    with pytest.raises(InputError) as caught:
        small(root, **options)
    assert caught.value.argument == argument


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="absent"):
        imagenet(tmp_path / "absent")
    (tmp_path / "train" / "n01").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "n01" / "0.png")
    with pytest.raises(InputError, match="val"):
        imagenet(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="root: expected a folder of class folders"):
        imagenet(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "train" / "n04").mkdir()
    with pytest.raises(InputError, match=r"none in 1 of 4: n04"):
        small(tmp_path)


def test_classes_that_differ_are_named(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "val" / "n03").rename(tmp_path / "val" / "n05")
    with pytest.raises(InputError, match=r"1 in train only \(n03\), 1 in val only \(n05\)"):
        small(tmp_path)


def test_nothing_is_decoded_before_a_shard_is_read(tmp_path):
    write_tree(tmp_path)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"damaged")
    data = small(tmp_path)
    assert data.calibration.skipped == ()
    with pytest.raises(InputError, match="calibration images"):
        data.calibration[0]
