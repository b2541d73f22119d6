"""Image folders: one folder per class, listed before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
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
        folder: holds one folder per class; files that are not called like images, and hidden
            files and folders, are passed over.

    Raises:
        InputError: no such folder, no class folders in it, or a class without images.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    classes = class_folders(folder)
    numbers = {name: number for number, name in enumerate(classes)}
    listed = make_dataset(str(folder), numbers, IMG_EXTENSIONS, allow_empty=True)
    # Such as the files that macOS puts beside those it unpacks (._cat.jpg is no image), and the
    # copies in .ipynb_checkpoints.
    depth = len(folder.parts)
    samples = [(path, label) for path, label in listed if is_visible(Path(path).parts[depth:])]
    labels = np.array([label for _, label in samples], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    require(
        not empty,
        "root",
        f"images ({', '.join(IMG_EXTENSIONS)}) in every class folder of {folder}",
        f"none in {len(empty)} of {len(classes)}: {', '.join(empty[:5])}",
        "Add images to these folders, or remove them.",
    )
    return ImageFiles(tuple(path for path, _ in samples), labels, tuple(classes))


def is_visible(parts: Sequence[str]) -> bool:
    """Whether neither a file nor any folder that it is in is hidden."""
    return not any(part.startswith(".") for part in parts)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are none of them.

    Raises:
        InputError: no such folder, no folders in it, or one that cannot be read.
    """
    found: object
    try:
        names = visible_folders(folder)
        if names:
            return names
        found = "none in it"
    except FileNotFoundError:
        beside = visible_folders(folder.parent) if folder.parent.is_dir() else []
        found = "no such folder"
        if beside:
            found = f"no such folder, but {', '.join(beside[:5])} in {folder.parent}"
    except OSError as error:
        found = error
    raise InputError(
        "root",
        f"a folder of class folders at {folder}",
        found,
        "Arrange the images as train/<class>/<image> and val/<class>/<image> under root, or name "
        "the folders: from_folder(root, train=..., val=...), or --train-folder and --val-folder; "
        "'.' is root itself.",
    )


def visible_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, but for hidden ones."""
    return sorted(
        each.name for each in folder.iterdir() if each.is_dir() and is_visible([each.name])
    )


def require_several_classes(files: ImageFiles, folder: Path) -> None:
    """Raise `InputError`, naming the folder and its only class, if there is no second one."""
    require(
        len(files.classes) >= 2,
        "root",
        f"at least two class folders in {folder}",
        f"one, {files.classes[0]}",
        "Arrange the images as train/<class>/<image>; or name the folder that holds the classes: "
        "from_folder(root, train=...), --train-folder.",
    )


def require_apart(train: Path, val: Path) -> None:
    """Raise `InputError` if two folders are one, or one of them is inside the other."""
    first, second = train.resolve(), val.resolve()
    require(
        first != second and first not in second.parents and second not in first.parents,
        "val",
        f"a folder of other images than those of {train}",
        val,
        "Held-out images are in a folder beside it; from_folder splits the training images by "
        "counts for val=None (--val-folder none).",
    )


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
