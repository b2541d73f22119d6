"""Training on image files: random crops, decoded in threads ahead of the training step."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image

from raynas.data.arrays import TRAIN, require_batch_size
from raynas.data.decoding import Decoded, Unreadable, attempt, channels_first
from raynas.data.image_folder import ImageFiles
from raynas.data.pixels import require_eight_bits, rgb

DIGESTED = 64
"""Files whose bytes are read for a digest, evenly spaced over all, of large folders."""

SMALL = 2**26
"""The bytes that files have together, at most, of which all are read for a digest."""


@final
class FolderImages:
    """Training images in files (a `TrainingImages`), cropped at random and mirrored.

    Unreadable images are passed over: the next image in the epoch's order takes the place in the
    batch.

    Args:
        files: the images to train on.
        image_size: height and width of the crops after scaling.
        threads: how many images to decode at a time; `None` lets Python choose.
    """

    def __init__(self, files: ImageFiles, *, image_size: int, threads: int | None = None) -> None:
        self._files = files
        self._image_size = image_size
        self._threads = threads
        self._unreadable = Unreadable(TRAIN, files)

    def __len__(self) -> int:
        """The number of files, unreadable ones included."""
        return len(self._files)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The paths of the images that proved unreadable so far."""
        return self._unreadable.names

    def digest(self) -> str:
        """A digest of the size of crops, and of the name, class and size in bytes of every file.

        Contents are read of all files if these have at most 64 MiB together, else of 64 of them,
        evenly spaced: to read all would take as long as an epoch. So one of the others may be
        replaced unseen by one of as many bytes. The folder may have been moved.
        """
        names = [Path(path).parts[-2:] for path in self._files.paths]
        sizes = [size_of(path) for path in self._files.paths]
        total = hashlib.blake2b(repr((self._image_size, names)).encode(), digest_size=16)
        total.update(self._files.labels.tobytes())
        total.update(np.array(sizes, dtype=np.int64).tobytes())
        count = len(self) if sum(sizes) <= SMALL else DIGESTED
        for row in np.unique(np.linspace(0, len(self) - 1, count).astype(int)).tolist():
            with suppress(OSError):  # Passed over, as in an epoch.
                total.update(hashlib.blake2b(Path(self._files.paths[row]).read_bytes()).digest())
        return total.hexdigest()

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch; see `TrainingImages.batches`. The next batch is decoded meanwhile.

        Raises:
            InputError: a batch size below 1, or more than 1 % of the images are unreadable.
        """
        require_batch_size(batch_size)
        images: list[np.ndarray] = []
        rows: list[int] = []
        only = True
        with closing(self._decoded(2 * batch_size, seed, epoch)) as decoded:
            for row, image in decoded:
                if isinstance(image, Exception):
                    self._unreadable.skip(row, image)
                    continue
                images.append(image)
                rows.append(row)
                if len(rows) == batch_size:
                    yield self._batch(images, rows)
                    images, rows, only = [], [], False
        if rows and only:
            yield self._batch(images, rows)

    def _batch(
        self, images: list[np.ndarray], rows: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.stack(images)), torch.from_numpy(self._files.labels[rows])

    def _decoded(
        self, ahead: int, seed: int, epoch: int
    ) -> Generator[tuple[int, Decoded], None, None]:
        """Every row of one epoch with its image, at most `ahead` of them being decoded."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self)).tolist()
        pool = ThreadPoolExecutor(self._threads)
        pending: deque[tuple[int, Future[Decoded]]] = deque()
        try:
            for row in order:
                pending.append((row, pool.submit(self._crop, row, seed, epoch)))
                if len(pending) > ahead:
                    first, future = pending.popleft()
                    yield first, future.result()
            for row, future in pending:
                yield row, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _crop(self, row: int, seed: int, epoch: int) -> Decoded:
        # A generator for each image, so that no thread waits for another's draw.
        rng = np.random.default_rng([seed, epoch, row])
        return attempt(
            lambda path: random_crop(path, self._image_size, rng), self._files.paths[row]
        )


def size_of(path: str) -> int:
    """The size of a file in bytes; 0 if it cannot be found, as of other unreadable images."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def random_crop(path: str, image_size: int, rng: np.random.Generator) -> np.ndarray:
    """Decode one image for training: a random rectangle, scaled, mirrored half of the time.

    Args:
        path: of the file.
        image_size: height and width of the result.
        rng: draws the rectangle and the mirroring.

    Returns:
        `[3, image_size, image_size]` uint8, RGB.

    Raises:
        InputError: an image of more than 8 bits in a channel.
    """
    with Image.open(path) as image:
        require_eight_bits(image, path)
        box = random_box(image.width, image.height, rng)
        crop = rgb(image).crop(box)
    scaled = crop.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = channels_first(scaled)
    return pixels if rng.random() < 0.5 else np.ascontiguousarray(pixels[:, :, ::-1])


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a rectangle inside an image, of 8 to 100 % of its area and of aspect from 3/4 to 4/3.

    torchvision's own draws come from one generator of the whole process, so they would depend on
    the order in which threads run.

    Args:
        width: of the image.
        height: of the image.
        rng: draws.

    Returns:
        Left, top, right and bottom. When ten draws do not fit, the largest rectangle of the
        nearest allowed aspect in the middle of the image.
    """
    widest = math.log(4 / 3)
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        aspect = math.exp(rng.uniform(-widest, widest))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * 4 / 3)))
    h = max(1, min(height, round(width * 4 / 3)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
