"""A user's own arrays and data sets: which samples go where, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import raynas
from raynas.data import SearchData, from_arrays, from_datasets
from raynas.errors import InputError


def images(count: int) -> np.ndarray:
    """Images that know their number, in their first two pixels."""
    pixels = np.zeros((count, 1, 3, 4), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return pixels


def numbers(samples: np.ndarray) -> list[int]:
    return (samples[:, 0, 0, 0].astype(int) * 256 + samples[:, 0, 0, 1]).tolist()


def parts(data: SearchData) -> dict[str, tuple[list[int], np.ndarray]]:
    """For each split the numbers of its images, and their targets."""
    found = {}
    for name in ("calibration", "validation", "test"):
        shards = getattr(data, name)
        found[name] = (
            [number for shard in shards for number in numbers(shard.features)],
            np.concatenate([shard.targets for shard in shards]) if shards else np.zeros(0),
        )
    train: Any = data.train
    if train is not None:
        found["train"] = (numbers(train.images), train.labels)
    return found


@settings(max_examples=30)
@given(st.integers(6, 300), st.integers(2, 5), st.integers(0, 3))
def test_every_sample_is_in_one_split_with_its_own_target(
    count: int, classes: int, seed: int
) -> None:
    labels = np.arange(count) % classes
    found = parts(from_arrays(images(count), labels, name="x", seed=seed))
    sizes = {name: len(rows) for name, (rows, _) in found.items()}
    assert sizes["calibration"] == max(count // 10, 2)
    assert sizes["validation"] == sizes["test"] == max(count // 5, 1)
    everything = [number for rows, _ in found.values() for number in rows]
    assert sorted(everything) == list(range(count))
    for rows, targets in found.values():
        assert targets.tolist() == labels[rows].tolist()
        shares = np.bincount(targets, minlength=classes)
        assert shares.max() - shares.min() <= 2


def test_counts_can_be_chosen_down_to_nothing() -> None:
    data = from_arrays(
        images(20), np.arange(20) % 2, name="x", calibration=0, validation=20, test=0, shard_size=7
    )
    assert (data.calibration, data.test, data.train) == ((), (), None)
    assert [shard.rows for shard in data.validation] == [7, 7, 6]
    assert (data.name, data.num_classes) == ("x", 2)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (4, {}, r"inputs: expected at least 5 samples \(calibration 2 \+ validation 1 \+ test 1, "),
        (9, {"validation": 9}, r"at least 13 samples .* got 9"),
        (9, {"calibration": 4, "validation": 4, "test": 2}, r"at least 10 samples \(cal.* 2\),"),
        (9, {"validation": 0}, "validation: expected at least 1"),
        (9, {"calibration": -1}, "calibration: "),
        (9, {"test": 2.0}, "test: "),
        (9, {"calibration": True}, "calibration: "),
        (9, {"seed": -1}, "seed: "),
        (9, {"shard_size": 0}, "shard_size: "),
        (9, {"shard_size": 2.5}, "shard_size: "),
        (9, {"pad": -1}, "pad: "),
        (9, {"name": ""}, "name: "),
    ],
)
def test_splits_that_cannot_be(count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(images(count), np.arange(count) % 2, **{"name": "x", **options})


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        (np.arange(30) % 3, None, 3),
        (np.arange(30) % 3, 5, 5),
        (np.arange(30) % 3 * 1.0, 3, 3),
        (np.arange(30) * 0.5, None, None),
        (np.arange(30) % 3 * 1.0, None, None),
        (np.zeros((30, 2, 2), int), None, None),
    ],
)
def test_classes_are_counted_or_given(
    labels: np.ndarray, classes: int | None, found: int | None
) -> None:
    data = from_arrays(images(30), labels, name="x", num_classes=classes)
    assert data.num_classes == found
    wanted = np.int64 if found or labels.dtype.kind == "i" else np.float32
    for rows, targets in parts(data).values():
        assert targets.dtype == wanted
        assert np.array_equal(targets, labels[rows].astype(wanted))


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.arange(30) % 3 + 1, None, "targets: expected class indices from 0.* from 1 to 3"),
        (np.where(np.arange(30) < 4, 255, np.arange(30) % 3), None, "4 classes from 0 to 255"),
        (np.arange(30) % 3 - 100, None, "from -100 to -98"),
        (np.zeros(30, int), None, "1 classes"),
        (np.arange(30) % 3, 2, "targets: expected 0 to 1"),
        (np.arange(30) * 0.5, 30, "one class index"),
        (np.zeros((30, 1), int), 2, "one class index"),
        (np.zeros(29, int), 2, "targets: expected 30"),
        (np.arange(30) % 3, 1, "num_classes: expected at least 2"),
    ],
)
def test_classes_that_cannot_be(labels: np.ndarray, classes: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(images(30), labels, name="x", num_classes=classes)


def test_ready_made_test_samples_are_the_test_split() -> None:
    held = images(7)[:, :, ::-1]
    data = from_arrays(images(30), np.arange(30) % 3, name="x", test=(held, [0, 1, 2, 0, 1, 2, 0]))
    assert np.array_equal(np.concatenate([shard.features for shard in data.test]), held)
    others = [row for name, (rows, _) in parts(data).items() if name != "test" for row in rows]
    assert sorted(others) == list(range(30))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((images(3).astype(np.float32), [0, 1, 2]), "test inputs: expected uint8 of shape"),
        ((np.zeros((3, 1, 4, 3), np.uint8), [0, 1, 2]), r"test inputs: .* got uint8 of shape \(1,"),
        ((images(3), [0.5, 1, 2]), "test targets: expected int64"),
        ((images(3), [0, 1, 3]), "test targets: expected 0 to 2"),
        ((images(3), [0, 1]), "test targets: expected 3"),
        ((images(3),), "test: expected a pair"),
    ],
)
def test_test_samples_of_another_kind_are_refused(test: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(images(30), np.arange(30) % 3, name="x", test=test)


def test_writing_to_the_arrays_later_changes_nothing() -> None:
    pixels, labels = images(30), np.arange(30) % 3
    data = from_arrays(pixels, labels, name="x")
    pixels[:], labels[:] = 200, 0
    for rows, targets in parts(data).values():
        assert max(rows) < 30
        assert targets.tolist() == [row % 3 for row in rows]


def test_only_images_are_augmented() -> None:
    tokens = np.arange(60).reshape(30, 2)
    data = from_arrays(tokens, np.arange(30) * 0.5, name="x")
    assert data.train is not None
    for inputs, targets in data.train.batches(5, seed=0, epoch=0):
        assert torch.equal(inputs[:, 0] / 4, targets)
    with pytest.raises(InputError, match="pad and flip"):
        from_arrays(tokens, np.arange(30) * 0.5, name="x", flip=True)


def test_a_supernet_trains_on_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)
    data = from_arrays(pixels, np.arange(60) % 2, name="noise", pad=1, flip=True)
    supernet = raynas.supernets.spos_8x8(data.num_classes)
    settings = raynas.TrainingSettings(epochs=1, batch_size=16, learning_rate=0.1, device="cpu")
    assert data.train is not None
    report = raynas.training.train(supernet, data.train, settings)[0]
    assert np.isfinite(report.loss)


def as_float(pixels: np.ndarray) -> Any:
    return torch.from_numpy(pixels).float().div(255)


def pillow(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0])


class Items:
    """Anything indexable."""

    def __init__(self, make: Callable[[np.ndarray, int], Any], count: int = 30) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(images(30)[index], index % 3)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda pixels, label: (pixels, label), np.uint8),
        (lambda pixels, label: [torch.from_numpy(pixels), torch.tensor(label)], np.uint8),
        (lambda pixels, label: (pillow(pixels), label), np.uint8),
        (lambda pixels, label: (pixels.astype(np.float32), np.int32(label)), np.float32),
        (lambda pixels, label: (pixels.astype(np.int64), np.array(label)), np.int64),
    ],
)
def test_items_of_data_sets_are_split_as_arrays_are(make: Callable, dtype: type) -> None:
    wanted = from_arrays(images(30).astype(dtype), np.arange(30) % 3, name="x", num_classes=3)
    found = from_datasets(Items(make), name="x", num_classes=3)
    for one, other in zip(wanted.validation, found.validation, strict=True):
        assert one.batch.equals(other.batch)
    assert found.train is not None
    assert parts(found)["train"][0] == parts(wanted)["train"][0]


def test_floats_stay_floats_and_test_sets_are_held_out() -> None:
    floats = TensorDataset(as_float(images(30)), torch.arange(30) % 3)
    data = from_datasets(floats, Items(lambda p, label: (as_float(p), label), 4), name="x")
    assert data.validation[0].features.dtype == np.float32
    assert np.array_equal(data.test[0].features, images(4).astype(np.float32) / 255)
    assert data.test[0].labels.tolist() == [0, 1, 2, 0]
    assert sum(shard.rows for shard in from_datasets(floats, 9, name="x").test) == 9


def test_columns_of_dictionaries() -> None:
    rows = [{"img": pillow(p), "id": "a", "label": i % 3} for i, p in enumerate(images(30))]
    data = from_datasets(rows, name="x", columns=("img", "label"))
    assert numbers(data.validation[0].features)
    with pytest.raises(InputError, match=r"train\[0\]: .* got columns img, id, label.*columns="):
        from_datasets(rows, name="x")
    with pytest.raises(InputError, match=r"train\[0\]: expected columns image and label"):
        from_datasets(rows, name="x", columns=("image", "label"))
    for wrong in ("img", ("img",), 2):
        with pytest.raises(InputError, match=r"columns: expected the names of two columns, got"):
            from_datasets(rows, name="x", columns=wrong)  # type: ignore[arg-type]


def test_targets_of_regression_and_segmentation() -> None:
    masks = Items(lambda pixels, label: (pixels, Image.fromarray(np.full((3, 4), label, np.uint8))))
    targets = from_datasets(masks, name="x").validation[0].targets
    assert (targets.dtype, targets.shape[1:]) == (np.int64, (3, 4))
    mixed = Items(lambda pixels, label: (pixels, label / 2 if label else 0))
    data = from_datasets(mixed, name="x")
    assert data.num_classes is None
    assert set(data.validation[0].targets.tolist()) == {0.0, 0.5, 1.0}


def test_pillow_images_of_all_kinds_become_bytes() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    for mode in ("RGB", "RGBA", "CMYK", "P", "YCbCr"):
        image = Image.fromarray(colour).convert(mode)
        data = from_datasets([(image, i % 2) for i in range(10)], name="x")
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(data.validation[0].features[0], expected)
    line = Image.fromarray(colour).convert("1")
    data = from_datasets([(line, i % 2) for i in range(10)], name="x")
    assert np.array_equal(data.validation[0].features[0, 0], np.asarray(line) * np.uint8(255))


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter([])


class Broken:
    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Any:
        raise OSError("gone")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (DataLoader(TensorDataset(torch.zeros(4, 1))), r"train: .*loader\.dataset"),
        (Stream(), r"train: .*list\(stream\)"),
        (iter([]), "train: expected something with len"),
        (None, "train: expected something with len"),
        (
            {"train": [], "test": []},
            "train: expected one data set, got a dictionary of train, test",
        ),
        ([], "train: expected at least one sample"),
        (Broken(), r"train\[0\]: .* OSError: gone"),
        ([images(1)[0]] * 9, r"train\[0\]: .* got a ndarray"),
        ([(images(1)[0], 1, 2)] * 9, r"train\[0\]: .* got a tuple of 3"),
        ([(images(1)[0], 0), (images(1)[0, :, :2], 1)], r"train\[1\]: expected uint8 \[1, 3, 4\]"),
        ([(pillow(images(1)[0]), 0), (Image.new("RGB", (4, 3)), 1)], r"train\[1\]: .*\[3, 3, 4\]"),
        ([(Image.new("I;16", (4, 3)), 0)] * 9, r"train\[0\]: expected an image of 8 bits"),
        ([(Image.new("F", (4, 3)), 0)] * 9, r"train\[0\]: expected an image of 8 bits"),
        ([(np.zeros(3), 0)] * 9, r"train\[0\]: .* got float64"),
        ([("text", 0)] * 9, r"train\[0\]: .* got str\. Make token ids of texts"),
        ([(images(1)[0], "cat")] * 9, "targets"),
        ([(images(1)[0], [0] * (1 + i % 2)) for i in range(9)], r"train targets\[1\]: "),
        ([(np.full(3, np.nan, np.float32), 0)] * 9, "inputs: .*NaN or infinity in sample 0"),
    ],
)
def test_data_sets_that_cannot_be_read(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_datasets(dataset, name="x")
