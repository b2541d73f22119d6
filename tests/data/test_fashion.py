"""Fashion-MNIST: the real files where Debian put them, and small made-up ones for what fails."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from raynas.data import fashion, fashion_mnist
from raynas.data.idx import read_idx
from raynas.errors import InputError
from raynas.supernets import spos_28x28

NAMES = fashion.TRAINING_FILES + fashion.TEST_FILES
real = pytest.mark.skipif(
    fashion.find_folder(None) is None, reason="Debian's dataset-fashion-mnist is not installed"
)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an idx file, compressed if its name says so."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    content = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_files(folder: Path, *, training: int = 60, test: int = 20, suffix: str = ".gz") -> None:
    """Four small files; every image has its own label in its first pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for (images, labels), count in ((NAMES[:2], training), (NAMES[2:], test)):
        classes = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        pixels[:, 0, 0] = classes
        write_idx(folder / f"{images}{suffix}", pixels)
        write_idx(folder / f"{labels}{suffix}", classes)


def small(root: Path, **options):
    """The small files, split."""
    return fashion_mnist(root, **{"calibration": 10, "validation": 20, "train": 30} | options)


@pytest.fixture
def nowhere_else(tmp_path, monkeypatch):
    """As on a machine without Debian's package."""
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "not-installed")


@pytest.fixture(scope="module")
def data():
    return fashion_mnist()


@real
def test_real_sizes_and_classes(data):
    assert (data.name, data.num_classes, len(data.train)) == ("fashion_mnist", 10, 50_000)
    for split, size in ((data.calibration, 500), (data.validation, 1000), (data.test, 10_000)):
        assert {shard.rows for shard in split} == {125}
        labels = np.concatenate([shard.labels for shard in split])
        assert np.bincount(labels).tolist() == [size // 10] * 10
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert data.validation[0].features.shape == (125, 1, 28, 28)


@real
def test_real_splits_are_disjoint_rows_of_the_training_file(data):
    pixels = read_idx(fashion.DEBIAN_FOLDER / f"{NAMES[0]}.gz")
    labels = read_idx(fashion.DEBIAN_FOLDER / f"{NAMES[1]}.gz")
    # A few images occur twice in the file itself, so count them rather than compare sets.
    available: dict[tuple[bytes, int], int] = {}
    for image, label in zip(pixels, labels.tolist(), strict=True):
        key = (image.tobytes(), label)
        available[key] = available.get(key, 0) + 1
    shards = [*data.calibration, *data.validation]
    images = np.concatenate([*(shard.features for shard in shards), data.train.images])
    classes = np.concatenate([*(shard.labels for shard in shards), data.train.labels])
    for image, label in zip(images, classes.tolist(), strict=True):
        available[(image.tobytes(), label)] -= 1
    assert min(available.values()) == 0
    assert sum(available.values()) == 60_000 - 51_500


@real
def test_the_supernet_normalises_by_the_training_pixels():
    recipe = spos_28x28().recipe
    counts = np.bincount(read_idx(fashion.DEBIAN_FOLDER / f"{NAMES[0]}.gz").ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = (counts * values).sum() / counts.sum()
    std = np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())
    assert recipe["mean"] == pytest.approx([mean], abs=5e-5)
    assert recipe["std"] == pytest.approx([std], abs=5e-5)


@real
def test_real_splits_are_the_same_every_time(data):
    again = fashion_mnist()
    for one, other in zip(data.validation, again.validation, strict=True):
        assert one.batch.equals(other.batch)
    assert np.array_equal(data.train.labels, again.train.labels)


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_a_given_folder_comes_first(tmp_path, suffix, below):
    write_files(tmp_path / below, suffix=suffix)
    data = small(tmp_path)
    assert len(data.train) == 30
    assert [shard.rows for shard in data.test] == [20]
    for shard in (*data.calibration, *data.validation, *data.test):
        assert np.array_equal(shard.features[:, 0, 0, 0], shard.labels)


@pytest.mark.usefixtures("nowhere_else")
def test_missing_files_name_the_places_and_the_remedies(tmp_path):
    with pytest.raises(InputError) as caught:
        fashion_mnist(tmp_path / "given")
    text = str(caught.value)
    for part in ("train-images", "given", "not-installed", "apt", "download=True", "root=..."):
        assert part in text


@pytest.mark.usefixtures("nowhere_else")
def test_one_missing_file_is_not_enough(tmp_path):
    write_files(tmp_path)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(InputError, match="companions"):
        small(tmp_path)


@pytest.mark.usefixtures("nowhere_else")
def test_a_download_needs_a_folder_that_can_be_written(tmp_path):
    with pytest.raises(InputError, match="root: expected a folder to download to, got None"):
        fashion_mnist(download=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="download: expected the files to arrive"):
        fashion_mnist(tmp_path / "file", download=True)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (NAMES[0], np.zeros((60, 32, 32), np.uint8)),
        (NAMES[1], np.zeros(59, np.uint8)),
        (NAMES[3], np.full(20, 10, np.uint8)),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, name, array):
    write_files(tmp_path)
    write_idx(tmp_path / f"{name}.gz", array)
    with pytest.raises(InputError, match=name):
        small(tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    write_files(tmp_path)
    path = tmp_path / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=NAMES[0]):
        small(tmp_path)


def test_more_images_than_there_are(tmp_path):
    write_files(tmp_path)
    with pytest.raises(InputError, match=r"calibration \+ validation \+ train: .*at most 60 .*61"):
        small(tmp_path, train=31)
