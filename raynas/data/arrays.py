"""Samples that fit in memory: augmented training batches, and all splits of a small data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch

from raynas.data.splits import SearchData
from raynas.errors import is_whole, require, require_flags
from raynas.shards.samples import as_inputs, as_targets, owned
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION, make_shards
from raynas.supernets.tensor_digest import array_digest

TRAIN = "train"
"""The name of the split that supernets are trained on; it has no shards."""


class Labelled(NamedTuple):
    """Samples `[n, …]`, such as images `[n, c, h, w]` uint8, and their targets `[n, …]`."""

    images: np.ndarray
    labels: np.ndarray

    def select_rows(self, rows: np.ndarray) -> Labelled:
        """Copies of the samples at some indices."""
        taken = Labelled(self.images[rows], self.labels[rows])
        for array in taken:
            # So that who keeps them need not copy them again.
            array.flags.writeable = False
        return taken


@final
@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Training samples in memory (a `TrainingImages`); images may be shifted and mirrored.

    Args:
        images: `[n, …]` of one fixed shape and uint8, float32, float16, int64 or int32, such as
            images `[n, c, h, w]`; copied, as the labels are.
        labels: `[n]` class indices, kept as int64, or other targets `[n, …]`, integers or floats,
            kept as int64 or float32.
        pad: the furthest that an image is shifted in each direction, in pixels; what comes in from
            outside is zero.
        flip: whether half of the images are mirrored left to right.

    Raises:
        InputError: samples or targets of another kind, not one target for each sample, no samples,
            a negative pad, or shifts and mirroring of samples that are not `[c, h, w]`.
    """

    images: np.ndarray
    labels: np.ndarray
    pad: int = field(default=0, kw_only=True)
    flip: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        images = as_inputs(self.images, "images")
        labels = as_targets(self.labels, len(images), "labels")
        object.__setattr__(self, "images", owned(images))
        object.__setattr__(self, "labels", owned(labels))
        require_count(self.pad, "pad", 0, "Use 0 for no shift.")
        require_flags(flip=self.flip)
        require(
            images.ndim == 4 or not (self.pad or self.flip),
            "pad and flip",
            "images [n, c, h, w] to shift and mirror",
            list(images.shape),
            "Leave them out for other samples.",
        )

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.labels)

    def digest(self) -> str:
        """A digest of samples, targets and augmentation, 32 hexadecimal digits."""
        total = hashlib.blake2b(f"{self.pad} {self.flip}\n".encode(), digest_size=16)
        total.update(array_digest(self.images) + array_digest(self.labels))
        return total.hexdigest()

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


def require_count(value: object, argument: str, least: int, remedy: str) -> None:
    """Raise `InputError` unless a value is a whole number, and at least so large."""
    require(
        is_whole(value) and value >= least,
        argument,
        f"at least {least}",
        repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}",
        remedy,
    )


def require_batch_size(batch_size: int) -> None:
    """Raise `InputError` unless a batch holds at least one sample."""
    require_count(batch_size, "batch_size", 1, "Use 64 to 1024 samples.")


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
    num_classes: int | None,
    splits: Mapping[str, Labelled],
    *,
    shard_size: int,
    pad: int,
    flip: bool,
) -> SearchData:
    """The splits of a data set that is in memory.

    Args:
        name: of the data set.
        num_classes: labels are `0 … num_classes - 1`; `None` if they are other targets.
        splits: the samples of `"calibration"`, `"validation"`, `"test"` and `"train"`; what is left
            out has none.
        shard_size: the largest number of samples in a shard.
        pad: how far training images are shifted, in pixels.
        flip: whether training images are mirrored.

    Raises:
        InputError: an empty split, or a shard size below 1.
    """
    shards = {
        split: make_shards(*splits[split], split=split, shard_size=shard_size)
        for split in (CALIBRATION, VALIDATION, TEST)
        if split in splits
    }
    train = ArrayImages(*splits[TRAIN], pad=pad, flip=flip) if TRAIN in splits else None
    return SearchData(
        name,
        num_classes,
        shards.get(CALIBRATION, ()),
        shards.get(VALIDATION, ()),
        shards.get(TEST, ()),
        train,
    )
