"""Image folders: one folder per class, listed before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import final

import numpy as np

from raynas.errors import InputError, require


@final
@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files and their classes.

    Args:
        paths: of the files.
        labels: `[n]` int64 indices into `classes`.
        classes: the names of the class folders, sorted.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """The number of files."""
        return len(self.paths)

    def select_rows(self, rows: np.ndarray) -> ImageFiles:
        """The files at some indices, with the same classes."""
        return ImageFiles(
            tuple(self.paths[row] for row in rows.tolist()), self.labels[rows], self.classes
        )


def folder_path(root: object) -> Path:
    """A folder as a path; `InputError` for what names none."""
    if not isinstance(root, str | PathLike):
        raise InputError("root", "a path", f"a {type(root).__name__}", "Name the folder.")
    return Path(root)


def list_images(folder: Path) -> ImageFiles:
    """List the images of a folder of class folders, sorted by class and name.

    Args:
        folder: holds one folder per class; files that are not called like images are passed over.

    Raises:
        InputError: no such folder, no class folders in it, or a class without images.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    remedy = (
        "Arrange the images as train/<class>/<image> and val/<class>/<image> under root, or name "
        "the folders: from_folder(root, train=..., val=...)."
    )
    try:
        found = ImageFolder(folder, allow_empty=True)
    except OSError as error:
        raise InputError("root", f"a folder of class folders at {folder}", error, remedy) from error
    labels = np.array(found.targets, dtype=np.int64)
    counts = np.bincount(labels, minlength=len(found.classes))
    empty = [name for name, count in zip(found.classes, counts, strict=True) if count == 0]
    require(
        not empty,
        "root",
        f"images ({', '.join(IMG_EXTENSIONS)}) in every class folder of {folder}",
        f"none in {len(empty)} of {len(found.classes)}: {', '.join(empty[:5])}",
        "Add images to these folders, or remove them.",
    )
    return ImageFiles(tuple(path for path, _ in found.samples), labels, tuple(found.classes))


def require_same_classes(one: ImageFiles, other: ImageFiles, where: Path) -> None:
    """Raise `InputError`, naming folders, unless train and val have the same class folders."""
    missing = sorted(set(one.classes) - set(other.classes))
    added = sorted(set(other.classes) - set(one.classes))
    require(
        not missing and not added,
        "root",
        f"the same class folders in train and val of {where}",
        f"{len(missing)} in train only ({', '.join(missing[:5])}), "
        f"{len(added)} in val only ({', '.join(added[:5])})",
        "Make the class folders agree.",
    )
