"""Handwritten digits: 1,797 real images that come with scikit-learn, for the first search."""

from __future__ import annotations

import numpy as np

from raynas.data.arrays import TRAIN, Labelled, in_memory
from raynas.data.splits import SearchData
from raynas.data.stratify import SPLIT_SEED, stratified_split
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION


def digits(
    *, calibration: int = 200, validation: int = 300, test: int = 360, shard_size: int = 100
) -> SearchData:
    """The digits, 8×8 and grey, in 10 classes; what the other splits leave is for training.

    Training images are shifted by up to one pixel. Nothing is downloaded.

    Args:
        calibration: the number of images for batch-norm statistics.
        validation: the number of images that steer the search.
        test: the number of held-out images.
        shard_size: the largest number of images in a shard.

    Raises:
        InputError: a size below 1, or sizes that leave no training image.
    """
    from sklearn.datasets import load_digits

    bundled = load_digits()
    # The scanner counted dark pixels in 4×4 cells, so values go from 0 to 16.
    pixels = np.rint(bundled.images * (255 / 16)).astype(np.uint8)[:, None]
    everything = Labelled(pixels, bundled.target.astype(np.int64))
    parts = stratified_split(
        everything.labels,
        {CALIBRATION: calibration, VALIDATION: validation, TEST: test},
        SPLIT_SEED,
        rest=TRAIN,
    )
    splits = {split: everything.select_rows(rows) for split, rows in parts.items()}
    return in_memory("digits", 10, splits, shard_size=shard_size, pad=1, flip=False)
