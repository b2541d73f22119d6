"""ImageNet, or any data set laid out like it: `train/<class>/<image>`, `val/<class>/<image>`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from raynas.data.arrays import TRAIN
from raynas.data.decoding import DecodedShards, centre_crop
from raynas.data.folder_training import FolderImages
from raynas.data.image_folder import list_images, require_same_classes
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED, stratified_split
from raynas.errors import require
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION


def imagenet(
    root: str | Path,
    *,
    calibration: int = 20_000,
    validation: int = 5_000,
    test: int | None = None,
    image_size: int = 224,
    resize: int = 256,
    shard_size: int = 100,
    threads: int | None = None,
    train: bool = False,
) -> SearchData:
    """An image folder as the data of a search.

    Calibration and validation images are disjoint, class-stratified parts of `train`; test images
    are those of `val`. The files are listed at once; their images are decoded shard by shard when
    a shard is read, and again when it is read again. Images are scaled so that their shorter side
    is `resize`, and cropped in the middle. Unreadable images are skipped, with a log warning.

    Args:
        root: holds `train` and `val`.
        calibration: the number of images for batch-norm statistics.
        validation: the number of images that steer the search.
        test: the number of held-out images, class-stratified; `None` for all of `val`.
        image_size: height and width of the images of all splits.
        resize: the length of the shorter side before the crop, at least `image_size`.
        shard_size: the largest number of images in a shard.
        threads: how many images to decode at a time; `None` lets Python choose.
        train: whether the rest of the training images is wanted for training: random crops of 8 to
            100 % of the area, half of them mirrored.

    Raises:
        InputError: no images, class folders that differ between `train` and `val`, more images
            asked for than there are, or sizes below 1. When a shard is read: more than 1 % of its
            split's images are unreadable.
    """
    require_sizes(image_size, resize, threads)
    training, held_out = list_images(Path(root) / "train"), list_images(Path(root) / "val")
    require_same_classes(training, held_out, Path(root))
    parts = stratified_split(
        training.labels,
        {CALIBRATION: calibration, VALIDATION: validation},
        SPLIT_SEED,
        rest=TRAIN if train else None,
    )
    tested = stratified_split(
        held_out.labels, {TEST: len(held_out) if test is None else test}, SPLIT_SEED
    )
    shards = partial(
        DecodedShards,
        shard_size=shard_size,
        decode=partial(centre_crop, image_size=image_size, resize=resize),
        threads=threads,
    )
    images = None
    if train:
        images = FolderImages(training.take(parts[TRAIN]), image_size=image_size, threads=threads)
    return SearchData(
        "imagenet",
        len(training.classes),
        calibration=shards(training.take(parts[CALIBRATION]), split=CALIBRATION),
        validation=shards(training.take(parts[VALIDATION]), split=VALIDATION),
        test=shards(held_out.take(tested[TEST]), split=TEST),
        train=images,
    )


def require_sizes(image_size: int, resize: int, threads: int | None) -> None:
    """Raise `InputError` for sizes that no image can have."""
    require(image_size >= 1, "image_size", "at least 1 pixel", image_size, "Use 224.")
    require(
        resize >= image_size,
        "resize",
        f"at least image_size, {image_size} pixels",
        resize,
        "The crop is cut from the scaled image; use 256 for 224.",
    )
    require(
        threads is None or threads >= 1,
        "threads",
        "at least 1",
        threads,
        "Leave it out for a number that suits the machine.",
    )
