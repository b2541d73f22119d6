"""CIFAR archives of a few images, byte for byte of the form that Python 2 gave the real ones."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from raynas.data import cifar10, cifar100
from raynas.data.cifar import CIFAR10, CIFAR100, Layout, names
from raynas.data.cifar_batches import read_batch
from raynas.errors import InputError


def short(text: str) -> bytes:
    """A Python 2 string."""
    return b"U" + bytes([len(text)]) + text.encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def python2_array(pixels: np.ndarray, dtype: str = "u1") -> bytes:
    """A numpy array as Python 2 pickled it, with protocol 2."""
    shape = integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86"
    raw = pixels.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + short(dtype)
        + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


def python2_batch(pixels: np.ndarray, labels: list[int], key: str, dtype: str = "u1") -> bytes:
    """A whole batch file."""
    listed = b"](" + b"".join(integer(label) for label in labels) + b"e"
    entries = short("batch_label") + short("a batch") + short(key) + listed
    return b"\x80\x02}(" + entries + short("data") + python2_array(pixels, dtype) + b"u."


def batches_of(layout: Layout, each: int) -> dict[str, bytes]:
    """Files of `each` images; every image has its label in its first pixel."""
    files = {}
    for seed, name in enumerate(names(layout)):
        labels = [(seed + i) % layout.num_classes for i in range(each)]
        pixels = np.random.default_rng(seed).integers(0, 256, (each, 3072), dtype=np.uint8)
        pixels[:, 0] = labels
        files[name] = python2_batch(pixels, labels, layout.label_key)
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(root: Path, layout: Layout, files: dict[str, bytes]) -> Path:
    path = root / layout.archive
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(params=["folder", "inside", "archive"])
def place(request, tmp_path):
    """A root for CIFAR-10 with 20 images a file, in each of the places where it may be."""
    files = batches_of(CIFAR10, 20)
    if request.param == "archive":
        write_archive(tmp_path, CIFAR10, files)
    else:
        write_folder(tmp_path / CIFAR10.folder, files)
    return tmp_path / CIFAR10.folder if request.param == "inside" else tmp_path


def test_cifar10_splits(place):
    data = cifar10(place, calibration=10, validation=20, shard_size=8)
    assert (data.name, data.num_classes, len(data.train)) == ("cifar10", 10, 70)
    assert [shard.rows for shard in data.calibration] == [5, 5]
    assert [shard.rows for shard in data.validation] == [7, 7, 6]
    assert [shard.rows for shard in data.test] == [7, 7, 6]
    for shard in (*data.calibration, *data.validation, *data.test):
        assert shard.features.shape[1:] == (3, 32, 32)
        assert shard.features.dtype == np.uint8
        assert np.array_equal(shard.features[:, 0, 0, 0], shard.labels)
    assert (data.train.pad, data.train.flip) == (4, True)


def test_no_image_is_in_two_splits(place):
    data = cifar10(place, calibration=10, validation=20)
    shards = (*data.calibration, *data.validation, *data.test)
    images = [image.tobytes() for shard in shards for image in shard.features]
    images += [image.tobytes() for image in data.train.images]
    assert len(set(images)) == len(images) == 120


def test_cifar100_reads_fine_labels(tmp_path):
    write_archive(tmp_path, CIFAR100, batches_of(CIFAR100, 200))
    data = cifar100(tmp_path, calibration=20, validation=100)
    assert (data.num_classes, len(data.train)) == (100, 80)
    assert sum(shard.rows for shard in data.test) == 200
    assert max(shard.labels.max() for shard in data.test) == 99


def test_the_batch_equals_what_pickle_reads():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    content = python2_batch(pixels, [3, 1, 2, 0], "labels")
    with warnings.catch_warnings():
        # Some versions of numpy complain of the integers that Python 2 wrote for booleans.
        warnings.simplefilter("ignore")
        expected = pickle.loads(content, encoding="latin1")
    images, labels = read_batch(content, "labels", "file")
    assert np.array_equal(images.reshape(4, 3072), expected["data"])
    assert labels.tolist() == expected["labels"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_that_python_3_pickled_are_read_too(order):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    stored = {"data": np.array(pixels, order=order), "labels": [0, 1, 2, 3]}
    images, _ = read_batch(pickle.dumps(stored, protocol=4), "labels", "file")
    assert np.array_equal(images.reshape(4, 3072), pixels)


class Malicious:
    """Pickles as a call of `os.mkdir`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_nothing(tmp_path):
    content = pickle.dumps({"data": Malicious(tmp_path / "made"), "labels": []}, protocol=2)
    with pytest.raises(InputError, match=r"it names \w+\.mkdir"):
        read_batch(content, "labels", "file")
    assert not (tmp_path / "made").exists()
    pickle.loads(content)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no pickle", id="text"),
        pytest.param(pickle.dumps([1, 2]), id="a list"),
        pytest.param(pickle.dumps({"data": 3, "labels": []}), id="no array"),
        pytest.param(python2_batch(np.zeros((2, 3072)), [0, 1], "labels", "f8"), id="floats"),
        pytest.param(python2_batch(np.zeros((2, 99), np.uint8), [0, 1], "labels"), id="size"),
        pytest.param(python2_batch(np.zeros((2, 3072), np.uint8), [0], "labels"), id="labels"),
        pytest.param(python2_batch(np.zeros((1, 3072), np.uint8), [0], "other"), id="key"),
        pytest.param(batches_of(CIFAR10, 3)["test_batch"][:-2000], id="cut"),
    ],
)
def test_a_damaged_batch_is_named(content):
    with pytest.raises(InputError, match="test_batch in here: expected a pickled CIFAR batch"):
        read_batch(content, "labels", "test_batch in here")


def test_labels_outside_the_classes_are_refused(tmp_path):
    files = batches_of(CIFAR10, 4)
    files["data_batch_3"] = python2_batch(np.zeros((1, 3072), np.uint8), [10], "labels")
    write_folder(tmp_path / CIFAR10.folder, files)
    with pytest.raises(InputError, match=r"data_batch_3.*labels from 0 to 9"):
        cifar10(tmp_path, calibration=2, validation=2)


def test_missing_files_name_what_was_looked_for(tmp_path):
    write_folder(tmp_path / CIFAR10.folder, {"data_batch_1": b""})
    with pytest.raises(InputError) as caught:
        cifar10(tmp_path)
    text = str(caught.value)
    for part in (CIFAR10.archive, CIFAR10.folder, "test_batch", str(tmp_path), "download=True"):
        assert part in text


def test_a_damaged_archive_is_named(tmp_path):
    path = write_archive(tmp_path, CIFAR10, batches_of(CIFAR10, 20))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(InputError, match=CIFAR10.archive):
        cifar10(tmp_path)


def test_an_archive_without_a_batch_is_named(tmp_path):
    files = batches_of(CIFAR10, 4)
    del files["data_batch_2"]
    write_archive(tmp_path, CIFAR10, files)
    with pytest.raises(InputError, match="data_batch_2"):
        cifar10(tmp_path)


def test_a_failed_download_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="download: expected the files to arrive"):
        cifar10(tmp_path / "file", download=True)


def test_sizes_must_leave_a_training_image(tmp_path):
    write_folder(tmp_path / CIFAR10.folder, batches_of(CIFAR10, 4))
    assert len(cifar10(tmp_path, calibration=9, validation=10).train) == 1
    with pytest.raises(InputError, match=r"calibration \+ validation: .*at most 19 images"):
        cifar10(tmp_path, calibration=10, validation=10)
