"""Images that fit in memory: augmented training batches, and all splits of a small data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch

from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION, make_shards

TRAIN = "train"
"""The name of the split that supernets are trained on; it has no shards."""


class Labelled(NamedTuple):
    """Images `[n, c, h, w]` uint8 and their class indices `[n]` int64."""

    images: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> Labelled:
        """The images at some indices."""
        return Labelled(self.images[rows], self.labels[rows])


@final
@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Training images in memory (a `TrainingImages`), shifted and mirrored at random.

    Args:
        images: `[n, c, h, w]` uint8.
        labels: `[n]` int64 class indices.
        pad: the furthest that an image is shifted in each direction, in pixels; what comes in from
            outside is black.
        flip: whether half of the images are mirrored left to right.

    Raises:
        InputError: wrong dtypes or shapes, no images, or a negative pad.
    """

    images: np.ndarray
    labels: np.ndarray
    pad: int = field(default=0, kw_only=True)
    flip: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        require(
            self.images.ndim == 4 and self.images.dtype == np.uint8 and len(self.images) > 0,
            "images",
            "at least one image, uint8 [n, c, h, w]",
            f"{self.images.dtype} {list(self.images.shape)}",
            "Convert the images.",
        )
        require(
            self.labels.shape == (len(self.images),) and self.labels.dtype == np.int64,
            "labels",
            f"int64 [{len(self.images)}], one label per image",
            f"{self.labels.dtype} {list(self.labels.shape)}",
            "Convert the labels.",
        )
        require(self.pad >= 0, "pad", "at least 0 pixels", self.pad, "Use 0 for no shift.")

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch; see `TrainingImages.batches`.

        How an image is augmented does not depend on the batch size.

        Raises:
            InputError: a batch size below 1.
        """
        require_batch_size(batch_size)
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        offsets = rng.integers(0, 2 * self.pad + 1, size=(len(self), 2))
        mirrored = rng.random(len(self)) < 0.5
        complete = len(self) // batch_size * batch_size
        for start in range(0, complete or len(self), batch_size):
            rows = slice(start, start + batch_size)
            images, labels = self.images[order[rows]], self.labels[order[rows]]
            if self.pad:
                images = crop_from_padding(images, offsets[rows], self.pad)
            if self.flip:
                images = mirror(images, mirrored[rows])
            yield torch.from_numpy(images), torch.from_numpy(labels)


def crop_from_padding(images: np.ndarray, offsets: np.ndarray, pad: int) -> np.ndarray:
    """Pad each image with zeros on all sides, and crop it back to its size.

    Args:
        images: `[n, c, h, w]`.
        offsets: `[n, 2]` the top and the left of each crop, from 0 to `2 * pad`.
        pad: in pixels.

    Returns:
        New images of the same shape and dtype.
    """
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    crops = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    return crops[np.arange(len(images)), :, offsets[:, 0], offsets[:, 1]]


def mirror(images: np.ndarray, which: np.ndarray) -> np.ndarray:
    """New images, those for which `which` is true (`[n]` bool) mirrored left to right."""
    return np.where(which[:, None, None, None], images[..., ::-1], images)


def require_batch_size(batch_size: int) -> None:
    """Raise `InputError` unless a batch holds at least one image."""
    require(batch_size >= 1, "batch_size", "at least 1", batch_size, "Use 64 to 1024 images.")


def require_labels(labels: np.ndarray, num_classes: int, source: object) -> None:
    """Raise `InputError`, naming the source, if a label is outside the classes."""
    outside = (labels < 0) | (labels >= num_classes)
    require(
        not outside.any(),
        str(source),
        f"labels from 0 to {num_classes - 1}",
        f"{int(outside.sum())} others, the first {labels[outside][:5].tolist()}",
        "Replace the file with an intact one.",
    )


def in_memory(
    name: str,
    num_classes: int,
    splits: Mapping[str, Labelled],
    *,
    shard_size: int,
    pad: int,
    flip: bool,
) -> SearchData:
    """The splits of a data set that is in memory.

    Args:
        name: of the data set.
        num_classes: labels are `0 … num_classes - 1`.
        splits: the images of `"calibration"`, `"validation"`, `"test"` and `"train"`.
        shard_size: the largest number of images in a shard.
        pad: how far training images are shifted, in pixels.
        flip: whether training images are mirrored.

    Raises:
        InputError: an empty split, or a shard size below 1.
    """
    calibration, validation, test = (
        make_shards(*splits[split], split=split, shard_size=shard_size)
        for split in (CALIBRATION, VALIDATION, TEST)
    )
    train = ArrayImages(*splits[TRAIN], pad=pad, flip=flip)
    return SearchData(name, num_classes, calibration, validation, test, train)
