"""ImageNet, or any data set laid out like it: `train/<class>/<image>`, `val/<class>/<image>`."""

from __future__ import annotations

from pathlib import Path

from raynas.data.arrays import TRAIN
from raynas.data.folders import Decoding
from raynas.data.image_folder import (
    folder_path,
    list_images,
    require_apart,
    require_same_classes,
    require_several_classes,
)
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED, stratified_split
from raynas.errors import require_flags
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
    """An image folder as the data of a search; `from_folder` with counts that suit ImageNet.

    Calibration and validation images are disjoint, class-stratified parts of `train`; test images
    are those of `val`. How images are decoded, see `from_folder`.

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
            asked for than there are, or sizes below 1. When a shard is read: an image has more than
            8 bits in a channel, or more than 1 % of its split's images are unreadable.
    """
    require_flags(train=train)
    decoding = Decoding(image_size, resize, shard_size, threads)
    place = folder_path(root)
    require_apart(place / "train", place / "val")
    training, held_out = list_images(place / "train"), list_images(place / "val")
    require_several_classes(training, place / "train")
    require_same_classes(training, held_out, place)
    sizes = {CALIBRATION: calibration, VALIDATION: validation}
    rows = stratified_split(training.labels, sizes, SPLIT_SEED, rest=TRAIN if train else None)
    tested = stratified_split(
        held_out.labels, {TEST: len(held_out) if test is None else test}, SPLIT_SEED
    )
    parts = {split: training.select_rows(chosen) for split, chosen in rows.items()}
    return decoding.data(
        "imagenet", len(training.classes), parts | {TEST: held_out.select_rows(tested[TEST])}
    )
