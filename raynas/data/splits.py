"""`SearchData`: what a search and a training read, whatever data set it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from raynas.shards.shard import Shard


class TrainingImages(Protocol):
    """Images to train on, augmented on the way."""

    def __len__(self) -> int:
        """The number of images."""

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in an order, and with augmentations, that `(seed, epoch)` alone determine.

        Yields:
            Images `[batch_size, c, h, w]` uint8 and labels `[batch_size]` int64; a last
            incomplete batch is dropped, unless it is the only one.
        """


@dataclass(frozen=True)
class SearchData:
    """The splits of one data set; no image is in two of them.

    Args:
        name: of the data set.
        num_classes: labels are `0 … num_classes - 1`.
        calibration: depth-0 shards for batch-norm statistics, split off the training images.
        validation: depth-0 shards that steer the search, split off the training images.
        test: depth-0 shards of held-out images; a sequence that may decode them on access. They
            are read once, for the architecture that the search chose.
        train: the images that supernets are trained on; `None` where only a search is wanted.
    """

    name: str
    num_classes: int
    calibration: Sequence[Shard]
    validation: Sequence[Shard]
    test: Sequence[Shard]
    train: TrainingImages | None = None
