"""Trees of image folders: which image is in which split, with which label."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raynas.data import SearchData, from_folder, imagenet
from raynas.errors import InputError
from raynas.shards.shard import ShardDigest

CLASSES = ("cats", "dogs")


def write(folder: Path, count: int, start: int = 0) -> None:
    """So many images for each class; red numbers the image and green its class."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for row in range(count):
            colour = (start + label * count + row, label, 0)
            Image.new("RGB", (9, 8), colour).save(folder / name / f"{row:02}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pets")
    write(folder / "train", 20)
    write(folder / "val", 5, 100)
    write(folder / "alone" / "train", 20)
    return folder


def load(root: Path, **options: Any) -> SearchData:
    return from_folder(root, **{"image_size": 7, "resize": 8, "threads": 1, **options})


def numbers(data: SearchData) -> dict[str, list[int]]:
    """Which images are in each split; sees that labels belong to them."""
    found: dict[str, list[int]] = {"calibration": [], "validation": [], "test": [], "train": []}
    for split in ("calibration", "validation", "test"):
        for shard in getattr(data, split):
            assert np.array_equal(shard.features[:, 1, 0, 0], shard.labels)
            assert shard.split == split
            found[split] += shard.features[:, 0, 0, 0].tolist()
    if data.train is not None:
        for images, labels in data.train.batches(len(data.train), seed=0, epoch=0):
            assert np.array_equal(images[:, 1, 0, 0], labels)
            found["train"] += images[:, 0, 0, 0].tolist()
    return {split: sorted(rows) for split, rows in found.items()}


def test_val_is_the_test_split_and_train_is_cut_by_defaults(root: Path) -> None:
    data = load(root, val="val")
    found = numbers(data)
    assert (data.name, data.num_classes) == (root.name, 2)
    assert "28 training, 4 calibration, 8 validation, 10 test" in repr(data)
    assert [len(rows) for rows in found.values()] == [4, 8, 10, 28]
    assert found["test"] == list(range(100, 110))
    others = found["calibration"] + found["validation"] + found["train"]
    assert sorted(others) == list(range(40))
    assert data.validation[0].features.shape == (8, 3, 7, 7)


@pytest.mark.parametrize("options", [{}, {"val": None}, {"train": "train/../train"}])
def test_a_tree_without_val_is_cut_by_counts(root: Path, options: dict[str, Any]) -> None:
    data = load(root / "alone", **options)
    found = numbers(data)
    assert [len(rows) for rows in found.values()] == [4, 8, 8, 20]
    assert sorted(row for rows in found.values() for row in rows) == list(range(40))


def test_classes_in_the_root_itself(root: Path) -> None:
    data = load(root / "alone" / "train", train=".", calibration=0, test=4, name="mine")
    assert [len(rows) for rows in numbers(data).values()] == [0, 8, 4, 28]
    assert data.name == "mine"


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train", 20)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "train" / "cats" / "._00.png").write_bytes(b"not an image")
    data = load(tmp_path)
    assert data.num_classes == 2
    assert sum(len(rows) for rows in numbers(data).values()) == 40


def test_hidden_folders_inside_class_folders_are_passed_over(tmp_path: Path) -> None:
    """Such as those of notebooks, whose copies would be in other splits than what they are of."""
    root = tmp_path / ".cache" / "pets"
    write(root / "train", 20)
    expected = numbers(load(root))
    for name in CLASSES:
        copies = root / "train" / name / ".ipynb_checkpoints" / "deeper"
        copies.mkdir(parents=True)
        Image.new("RGB", (9, 8), (255, 0, 0)).save(copies / "00-checkpoint.png")
    assert numbers(load(root)) == expected


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "train"), ("train", "./train"), ("train", "link"), (".", "train"), ("train", ".")],
)
def test_held_out_images_that_are_trained_on_are_refused(
    train: str, val: str, tmp_path: Path
) -> None:
    write(tmp_path / "train", 20)
    (tmp_path / "link").symlink_to(tmp_path / "train")
    with pytest.raises(InputError, match="val: expected a folder of other images") as caught:
        load(tmp_path, train=train, val=val)
    assert "val=None" in caught.value.remedy
    (tmp_path / "val").symlink_to(tmp_path / "train")
    with pytest.raises(InputError, match="val: expected a folder of other images"):
        imagenet(tmp_path)


def test_a_root_that_is_one_too_deep_names_what_is_there(root: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder, but cats, dogs in .*train=.*root"):
        load(root / "train")


def test_a_single_class_is_named_with_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "train", 3)
    write(tmp_path / "val", 3)
    shutil.rmtree(tmp_path / "train" / "dogs")
    with pytest.raises(InputError) as caught:
        from_folder(tmp_path, image_size=8)
    said = f"root: expected at least two class folders in {tmp_path / 'train'}, got one, cats. "
    assert str(caught.value).startswith(said)
    with pytest.raises(InputError, match=r"got one, cats\. "):
        imagenet(tmp_path)


def test_counts_and_seeds(root: Path) -> None:
    options = {"calibration": 10, "validation": 30, "test": 4, "shard_size": 15}
    data = load(root, **options)
    assert data.train is None
    assert [shard.rows for shard in data.validation] == [15, 15]
    assert len(numbers(data)["test"]) == 4
    assert numbers(load(root, **options)) == numbers(data)
    assert numbers(load(root, **options, seed=1)) != numbers(data)
    assert load(root, test=0).test == ()


def test_imagenet_is_the_same_with_its_own_counts(root: Path) -> None:
    def digests(data: SearchData) -> list[str]:
        totals = []
        for split in (data.calibration, data.validation, data.test):
            total = ShardDigest()
            for shard in split:
                total.update(shard)
            totals.append(total.hexdigest())
        return totals

    sizes: dict[str, Any] = {"calibration": 10, "validation": 12, "image_size": 7, "resize": 8}
    one, other = imagenet(root, **sizes, train=True), from_folder(root, **sizes)
    assert one.name == "imagenet"
    assert digests(one) == digests(other)
    assert numbers(one) == numbers(other)


def test_the_default_scale_is_that_of_imagenet(root: Path) -> None:
    data = from_folder(root, image_size=7)
    assert np.array_equal(data.validation[0].features, load(root).validation[0].features)


@pytest.mark.parametrize("load", [from_folder, imagenet])
def test_roots_that_name_no_folder(load: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (None, 3, tmp_path / "file", tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="root: expected a"):
            load(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "training"}, "root: expected a folder of class folders at .*training"),
        ({"val": "test"}, "val: expected a folder of held-out images .*, got none, but alone, val"),
        ({"calibration": 33}, "images of .*train: expected at least 42 samples"),
        ({"test": 11}, "images of .*val: expected at least 11 samples"),
        ({"validation": 0}, "validation: "),
        ({"image_size": 0, "resize": None}, "image_size: "),
        ({"image_size": "7"}, "image_size: "),
        ({"resize": 3}, "resize: "),
        ({"resize": 8.5}, "resize: "),
        ({"threads": "2"}, "threads: "),
        ({"seed": -1}, "seed: "),
        ({"shard_size": 0}, "shard_size: "),
    ],
)
def test_trees_and_options_that_cannot_be(
    root: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(root, **options)


@pytest.mark.parametrize("options", [{"train": None}, {"train": 3}, {"val": 3}, {"train": "\0"}])
def test_folders_that_are_no_names(root: Path, options: dict[str, Any]) -> None:
    (argument,) = options
    with pytest.raises(InputError, match=f"{argument}: expected a path"):
        load(root, **options)
