"""Fashion-MNIST: 70,000 grey images of clothes, 28×28, in 10 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raynas.data.arrays import TRAIN, Labelled, in_memory, require_labels
from raynas.data.downloads import download_to
from raynas.data.idx import damaged, read_idx
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED, stratified_split
from raynas.errors import InputError, require_flags
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""The folder in which Debian's package dataset-fashion-mnist puts the files."""

TRAINING_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def fashion_mnist(
    root: str | Path | None = None,
    *,
    calibration: int = 500,
    validation: int = 1000,
    train: int = 50_000,
    shard_size: int = 125,
    download: bool = False,
) -> SearchData:
    """Fashion-MNIST from a folder, from Debian's dataset-fashion-mnist, or downloaded.

    Calibration, validation and training images are disjoint, class-stratified parts of the 60,000
    training images; the test split is the 10,000 test images. Training images are shifted by up to
    two pixels and mirrored.

    Args:
        root: the folder that holds the four idx files (`.gz` or not), or torchvision's
            `FashionMNIST/raw` with them.
        calibration: the number of images for batch-norm statistics.
        validation: the number of images that steer the search.
        train: the number of images to train on.
        shard_size: the largest number of images in a shard.
        download: let torchvision download the files to `root` if they are found nowhere.

    Raises:
        InputError: no files, a damaged file, a failed download, a size below 1, or more images
            asked for than there are.
    """
    require_flags(download=download)
    folder = find_folder(root)
    if folder is None and download:
        folder = find_folder(download_to(root, fetch))
    if folder is None:
        places = ", ".join(str(place) for place in candidate_folders(root))
        raise InputError(
            "root",
            f"{TRAINING_FILES[0]}.gz and its three companions in a folder",
            f"none in {places}",
            "Install Debian's dataset-fashion-mnist (apt-get install dataset-fashion-mnist), give "
            "the folder as root=... (--data), or download with download=True and root=....",
        )
    training = read_pair(folder, TRAINING_FILES)
    parts = stratified_split(
        training.labels,
        {CALIBRATION: calibration, VALIDATION: validation, TRAIN: train},
        SPLIT_SEED,
    )
    splits = {split: training.select_rows(rows) for split, rows in parts.items()}
    splits[TEST] = read_pair(folder, TEST_FILES)
    return in_memory("fashion_mnist", 10, splits, shard_size=shard_size, pad=2, flip=True)


def fetch(root: Path) -> None:
    """Let torchvision download to its own layout under `root`."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(root, download=True)


def candidate_folders(root: str | Path | None) -> list[Path]:
    """The folders to look in, in this order."""
    given = [] if root is None else [Path(root), Path(root) / "FashionMNIST" / "raw"]
    return [*given, DEBIAN_FOLDER]


def find_folder(root: str | Path | None) -> Path | None:
    """The first candidate folder that holds all four files."""
    for folder in candidate_folders(root):
        if all(find_file(folder, name) is not None for name in TRAINING_FILES + TEST_FILES):
            return folder
    return None


def find_file(folder: Path, name: str) -> Path | None:
    """One file, compressed or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


def read_pair(folder: Path, names: tuple[str, str]) -> Labelled:
    """One file of images and its file of labels.

    Raises:
        InputError: a damaged file, or files that do not belong together.
    """
    image_file, label_file = (find_file(folder, name) for name in names)
    assert image_file is not None
    assert label_file is not None
    images, labels = read_idx(image_file), read_idx(label_file).astype(np.int64)
    if images.shape[1:] != (28, 28):
        raise damaged(image_file, "images of shape (n, 28, 28)", images.shape)
    if labels.shape != (len(images),):
        raise damaged(label_file, f"{len(images)} labels, one per image", labels.shape)
    require_labels(labels, 10, label_file)
    return Labelled(images[:, None], labels)
