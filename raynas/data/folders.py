"""Folders of image files, one folder per class, as the data of a search and a training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from raynas.data.arrays import TRAIN, require_count
from raynas.data.counts import split_counts, split_rows
from raynas.data.decoding import DecodedShards, centre_crop
from raynas.data.folder_training import FolderImages
from raynas.data.image_folder import (
    ImageFiles,
    folder_path,
    list_images,
    require_apart,
    require_same_classes,
    require_several_classes,
    visible_folders,
)
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED
from raynas.errors import InputError, require
from raynas.files import as_path
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION


def from_folder(
    root: str | Path,
    *,
    train: str = "train",
    val: str | None = "val",
    name: str | None = None,
    image_size: int = 224,
    resize: int | None = None,
    calibration: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    shard_size: int = 100,
    threads: int | None = None,
    seed: int = SPLIT_SEED,
) -> SearchData:
    """Split the images of a tree of folders, `<root>/<train>/<class>/<image>` and `<val>` likewise.

    Calibration and validation images are class-stratified parts of `train`, and what they leave is
    for training: random crops of 8 to 100 % of the area, half of them mirrored. The images of `val`
    are the test split, which never steers a search. A tree without `val` is split by counts, the
    test images, too.

    The files are listed at once; their images are decoded shard by shard when a shard is read, and
    again when it is read again. Images become RGB, are scaled so that their shorter side is
    `resize`, and cropped in the middle; EXIF's orientation is left alone, as torchvision's
    `ImageFolder` does, so photographs that lie on their side stay so. Unreadable images are
    skipped, with a log warning.

    Args:
        root: holds the folders.
        train: the folder in `root` with the training images; `"."` for `root` itself.
        val: the folder in `root` with held-out images; `None`, or one that is not there, if there
            are none.
        name: of the data set; that of the folder `root` if omitted.
        image_size: height and width of the images of all splits.
        resize: the length of the shorter side before the crop; by default 8/7 of `image_size`,
            rounded, as 256 is for 224.
        calibration: the number of images for batch-norm statistics, 0 for networks without batch
            norm; by default a tenth of `train`, from 2 to 1,000.
        validation: the number of images that steer the search; by default a fifth of `train`, at
            most 5,000.
        test: the number of held-out images, 0 for none; by default all of `val`, or without it a
            fifth of `train`, at most 10,000.
        shard_size: the largest number of images in a shard, which is the batch of the evaluation.
        threads: how many images to decode at a time; `None` lets Python choose.
        seed: of the split.

    Raises:
        InputError: no images, one class folder alone, class folders that differ between `train` and
            `val`, more images asked for than there are, or sizes below 1. When a shard is read: an
            image has more than 8 bits in a channel, or more than 1 % of its split's images are
            unreadable.
    """
    place = folder_path(root)
    train = str(as_path(train, "train"))
    val = None if val is None else str(as_path(val, "val"))
    require_count(image_size, "image_size", 1, "Use a number of pixels such as 224.")
    scaled = round(image_size * 8 / 7) if resize is None else resize
    decoding = Decoding(image_size, scaled, shard_size, threads)
    training = list_images(place / train)
    require_several_classes(training, place / train)
    held = held_out_images(place, train, val)
    asked: dict[str, int | None] = {CALIBRATION: calibration, VALIDATION: validation}
    if held is None:
        asked[TEST] = test
    sizes = split_counts(len(training), asked, f"images of {place / train}")
    rows = split_rows(training.labels, len(training), sizes, seed)
    parts = {split: training.select_rows(chosen) for split, chosen in rows.items()}
    if held is not None:
        require_same_classes(training, held, place)
        tested = len(held) if test is None else test
        counts = split_counts(len(held), {TEST: tested}, f"images of {place / str(val)}")
        for split, chosen in split_rows(held.labels, len(held), counts, seed).items():
            if split == TEST:
                parts[TEST] = held.select_rows(chosen)
    title = name or place.resolve().name or "images"
    return decoding.data(title, len(training.classes), parts)


@final
@dataclass(frozen=True)
class Decoding:
    """Settings by which image files become the shards and training images of a data set.

    Args:
        image_size: height and width of the images.
        resize: the length of the shorter side before the crop.
        shard_size: the largest number of images in a shard.
        threads: how many images to decode at a time; `None` lets Python choose.

    Raises:
        InputError: sizes that no image can have.
    """

    image_size: int
    resize: int
    shard_size: int
    threads: int | None

    def __post_init__(self) -> None:
        require_count(self.image_size, "image_size", 1, "Use a number of pixels such as 224.")
        require_count(self.resize, "resize", 1, "Use a number of pixels such as 256.")
        require(
            self.resize >= self.image_size,
            "resize",
            f"at least image_size, {self.image_size} pixels",
            self.resize,
            "The crop is cut from the scaled image; use 256 for 224.",
        )
        if self.threads is not None:
            require_count(
                self.threads, "threads", 1, "Leave it out for a number that suits the machine."
            )

    def shards(self, split: str, files: ImageFiles | None) -> DecodedShards | tuple[()]:
        """The shards of a split, decoded on access; none if there are no files."""
        if files is None:
            return ()
        return DecodedShards(
            files,
            split=split,
            shard_size=self.shard_size,
            decode=partial(centre_crop, image_size=self.image_size, resize=self.resize),
            threads=self.threads,
        )

    def data(self, name: str, num_classes: int, parts: dict[str, ImageFiles]) -> SearchData:
        """The data set whose splits, and training images under `"train"`, are some files."""
        train = None
        if TRAIN in parts:
            train = FolderImages(parts[TRAIN], image_size=self.image_size, threads=self.threads)
        return SearchData(
            name,
            num_classes,
            calibration=self.shards(CALIBRATION, parts.get(CALIBRATION)),
            validation=self.shards(VALIDATION, parts.get(VALIDATION)),
            test=self.shards(TEST, parts.get(TEST)),
            train=train,
        )


def held_out_images(root: Path, train: str, val: str | None) -> ImageFiles | None:
    """The images of the folder `val`; `None` if there is none.

    Raises:
        InputError: `val` is missing, and another folder beside `train` may be it; or one of them
            holds the other.
    """
    if val is None:
        return None
    if (root / val).is_dir():
        require_apart(root / train, root / val)
        return list_images(root / val)
    alone = (root / train).resolve() == root.resolve()
    others = (
        []
        if alone
        else [
            name
            for name in visible_folders(root)
            if (root / name).resolve() != (root / train).resolve()
        ]
    )
    if others:
        raise InputError(
            "val",
            f"a folder of held-out images at {root / val}",
            f"none, but {', '.join(others[:5])} beside {train}",
            "Name the folder (val=..., --val-folder), or give val=None (--val-folder none) to "
            "split the training images by counts.",
        )
    return None
