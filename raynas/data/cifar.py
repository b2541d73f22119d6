"""CIFAR-10 and CIFAR-100: 60,000 colour images, 32×32, from their archives for Python."""

from __future__ import annotations

import functools
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from raynas.data.arrays import TRAIN, Labelled, in_memory, require_labels
from raynas.data.cifar_batches import read_batch
from raynas.data.downloads import download_to
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED, stratified_split
from raynas.errors import InputError, require_flags
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION


@final
@dataclass(frozen=True)
class Layout:
    """The contents of an archive.

    Args:
        name: of the data set; torchvision's class has the same name in capitals.
        num_classes: labels are `0 … num_classes - 1`.
        archive: its file name.
        folder: the folder that unpacking it makes.
        training: the files of the training images.
        test: the file of the test images.
        label_key: the name of the labels in the files.
    """

    name: str
    num_classes: int
    archive: str
    folder: str
    training: tuple[str, ...]
    test: str
    label_key: str


CIFAR10 = Layout(
    name="cifar10",
    num_classes=10,
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    training=tuple(f"data_batch_{part}" for part in range(1, 6)),
    test="test_batch",
    label_key="labels",
)
CIFAR100 = Layout(
    name="cifar100",
    num_classes=100,
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    training=("train",),
    test="test",
    label_key="fine_labels",
)


def cifar10(
    root: str | Path,
    *,
    calibration: int = 1_000,
    validation: int = 5_000,
    shard_size: int = 125,
    download: bool = False,
) -> SearchData:
    """CIFAR-10, split as `cifar_splits` says.

    Args:
        root: the folder that holds the archive, or what it unpacks to.
        calibration: the number of images for batch-norm statistics.
        validation: the number of images that steer the search.
        shard_size: the largest number of images in a shard.
        download: let torchvision download the archive to `root` if it is not there.

    Raises:
        InputError: as `cifar_splits`.
    """
    sizes = {CALIBRATION: calibration, VALIDATION: validation}
    return cifar_splits(CIFAR10, Path(root), sizes, shard_size=shard_size, download=download)


def cifar100(
    root: str | Path,
    *,
    calibration: int = 1_000,
    validation: int = 5_000,
    shard_size: int = 125,
    download: bool = False,
) -> SearchData:
    """CIFAR-100 with its 100 fine labels; arguments and errors are those of `cifar10`."""
    sizes = {CALIBRATION: calibration, VALIDATION: validation}
    return cifar_splits(CIFAR100, Path(root), sizes, shard_size=shard_size, download=download)


def cifar_splits(
    layout: Layout, root: Path, sizes: dict[str, int], *, shard_size: int, download: bool
) -> SearchData:
    """Calibration and validation images drawn, class-stratified, from the training images.

    The other training images are for training, shifted by up to four pixels and mirrored; the test
    images are held out.

    Raises:
        InputError: no files, a damaged file, a failed download, a size below 1, or sizes that
            leave no training image.
    """
    require_flags(download=download)
    place = find(layout, root)
    if place is None and download:
        place = find(layout, download_to(root, functools.partial(fetch, layout)))
    if place is None:
        raise InputError(
            "root",
            f"{layout.archive}, or {layout.folder} with {', '.join(names(layout))}",
            f"neither in {root}",
            "Give the folder that holds one of them, or download with download=True.",
        )
    batches = read_batches(layout, place)
    training = [batches[name] for name in layout.training]
    everything = Labelled(*(np.concatenate(arrays) for arrays in zip(*training, strict=True)))
    parts = stratified_split(everything.labels, sizes, SPLIT_SEED, rest=TRAIN)
    splits = {split: everything.select_rows(rows) for split, rows in parts.items()}
    splits[TEST] = batches[layout.test]
    return in_memory(
        layout.name, layout.num_classes, splits, shard_size=shard_size, pad=4, flip=True
    )


def names(layout: Layout) -> tuple[str, ...]:
    """All files that are read, training files first."""
    return (*layout.training, layout.test)


def fetch(layout: Layout, root: Path) -> None:
    """Download the archive; torchvision knows its address and its checksum."""
    from torchvision import datasets

    known = getattr(datasets, layout.name.upper())
    datasets.utils.download_url(known.url, str(root), layout.archive, known.tgz_md5)


def find(layout: Layout, root: Path) -> Path | None:
    """The unpacked folder if it is complete, else the archive, else nothing."""
    for folder in (root / layout.folder, root):
        if all((folder / name).is_file() for name in names(layout)):
            return folder
    archive = root / layout.archive
    return archive if archive.is_file() else None


def read_batches(layout: Layout, place: Path) -> dict[str, Labelled]:
    """The images of every file of the unpacked folder or the archive.

    Raises:
        InputError: a damaged file, or labels outside the classes.
    """
    batches = {}
    for name, content in read_files(layout, place).items():
        source = f"{name} in {place}"
        batches[name] = Labelled(*read_batch(content, layout.label_key, source))
        require_labels(batches[name].labels, layout.num_classes, source)
    return batches


def read_files(layout: Layout, place: Path) -> dict[str, bytes]:
    """The content of every file of the unpacked folder or the archive.

    Raises:
        InputError: a file that cannot be read, or an archive without it.
    """
    try:
        if place.is_dir():
            return {name: (place / name).read_bytes() for name in names(layout)}
        with tarfile.open(place) as archive:
            members = {name: f"{layout.folder}/{name}" for name in names(layout)}
            return {name: read_member(archive, path) for name, path in members.items()}
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        raise InputError(
            str(place), "readable, complete files", error, "Replace it with an intact one."
        ) from error


def read_member(archive: tarfile.TarFile, path: str) -> bytes:
    """The content of one file of an archive; `KeyError` if it is not there."""
    member = archive.extractfile(path)
    if member is None:
        raise KeyError(f"{path} is not a file")
    return member.read()
