"""Decoding image files in threads: shards that are decoded when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import final

import numpy as np
from PIL import Image

from raynas.data.image_folder import ImageFiles
from raynas.data.pixels import require_eight_bits, rgb
from raynas.errors import InputError, require
from raynas.shards.lazy import LazyShards
from raynas.shards.shard import Shard, partition

UNREADABLE_AT_MOST = 0.01
"""The share of a split's images that may be unreadable."""

Decoded = np.ndarray | Exception
"""An image `[c, h, w]`, or why it could not be decoded."""

logger = logging.getLogger("raynas.data")


def centre_crop(path: str, *, image_size: int, resize: int) -> np.ndarray:
    """Decode one image for evaluation.

    Args:
        path: of the file.
        image_size: height and width of the square cut from the middle.
        resize: the length of the shorter side before that, after bilinear scaling.

    Returns:
        `[3, image_size, image_size]` uint8, RGB, turned as the file has it: like torchvision's
        `ImageFolder`, this leaves EXIF's orientation alone.

    Raises:
        InputError: an image of more than 8 bits in a channel.
    """
    from torchvision.transforms import functional

    with Image.open(path) as image:
        require_eight_bits(image, path)
        scaled = functional.resize(rgb(image), resize)
    return channels_first(functional.center_crop(scaled, image_size))


def channels_first(image: Image.Image) -> np.ndarray:
    """An RGB image as `[3, h, w]` uint8."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


@final
class Unreadable:
    """The unreadable images of one split: named in a log warning, and an error above 1 %.

    Args:
        split: its name in errors.
        files: all files of the split.
    """

    def __init__(self, split: str, files: ImageFiles) -> None:
        self._split = split
        self._files = files
        self._rows: set[int] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the images that were skipped so far, in the order of the split."""
        return tuple(self._files.paths[row] for row in sorted(self._rows))

    def skip(self, row: int, error: Exception) -> None:
        """Note one image.

        Raises:
            InputError: more than 1 % of the split's images are unreadable.
        """
        if row not in self._rows:
            self._rows.add(row)
            path = self._files.paths[row]
            logger.warning("%s: skipped the unreadable image %s (%r)", self._split, path, error)
        require(
            len(self._rows) <= UNREADABLE_AT_MOST * len(self._files),
            f"{self._split} images",
            f"at most {UNREADABLE_AT_MOST:.0%} of {len(self._files)} to be unreadable",
            f"{len(self._rows)} so far: {', '.join(self.names[:5])}; the last one, "
            f"{type(error).__name__}: {error}",
            "Replace these files, or delete them.",
        )


@final
class DecodedShards(LazyShards):
    """Depth-0 shards of image files, decoded again at each access; nothing is kept.

    Unreadable images are left out of their shard, which is then smaller; sample ids are positions
    in `files`, so those of the other images do not change.

    Args:
        files: the images of the split.
        split: `"calibration"`, `"validation"` or `"test"`.
        shard_size: the largest number of images in a shard.
        decode: gives the image of a path, `[c, h, w]` uint8, all of one shape.
        threads: how many images to decode at a time; `None` lets Python choose.

    Raises:
        InputError: no files, or a shard size below 1. On access: more than 1 % of the split's
            images have proved unreadable, all images of the shard are, or one has more than 8 bits
            in a channel.
    """

    def __init__(
        self,
        files: ImageFiles,
        *,
        split: str,
        shard_size: int,
        decode: Callable[[str], np.ndarray],
        threads: int | None = None,
    ) -> None:
        self._files = files
        self._split = split
        self._decode = decode
        self._threads = threads
        self._pieces = partition(len(files), shard_size, split)
        self._unreadable = Unreadable(split, files)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The paths of the unreadable images in the shards that were decoded so far."""
        return self._unreadable.names

    @property
    def samples(self) -> int:
        """The number of images, those included that may prove unreadable."""
        return len(self._files)

    def __len__(self) -> int:
        """The number of shards."""
        return len(self._pieces)

    def make(self, index: int) -> Shard:
        """Decode one shard."""
        piece = self._pieces[index]
        images, rows = [], []
        for row, image in zip(piece.tolist(), self._decoded(piece), strict=True):
            if isinstance(image, Exception):
                self._unreadable.skip(row, image)
            else:
                images.append(image)
                rows.append(row)
        if not images:
            raise InputError(
                f"{self._split} images",
                "a readable image in every shard",
                f"none in {', '.join(self._files.paths[row] for row in piece[:5])}",
                "Replace these files, delete them, or raise shard_size.",
            )
        return Shard.build(
            np.stack(images), self._files.labels[rows], np.array(rows), split=self._split
        )

    def _decoded(self, piece: np.ndarray) -> list[Decoded]:
        paths = [self._files.paths[row] for row in piece.tolist()]
        # Pillow lets go of Python's lock while it decodes and scales, so threads suffice.
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(partial(attempt, self._decode), paths))


def attempt(decode: Callable[[str], np.ndarray], path: str) -> Decoded:
    """The decoded image, or why it could not be decoded.

    Decoders raise errors of any type for files that are missing, cut short or of another kind. But
    an `InputError` says of a sound file what the user has to decide.
    """
    try:
        return decode(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        return error
