"""`SearchData`: what a search and a training read, whatever data set it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch

from raynas.errors import InputError, is_whole, require
from raynas.shards.inspection import Inspector, require_shard
from raynas.shards.lazy import are_in_memory
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION, Shard

SPLITS = (CALIBRATION, VALIDATION, TEST)
"""The splits that are shards."""


class TrainingImages(Protocol):
    """Samples to train on, images augmented on the way.

    An optional method `digest()` gives a text that changes with the samples, for training
    checkpoints: a training is not resumed with others. Without it, the first batch is compared.
    """

    def __len__(self) -> int:
        """The number of samples."""

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in an order, and with augmentations, that `(seed, epoch)` alone determine.

        Yields:
            Samples `[batch_size, …]`, such as images `[batch_size, c, h, w]` uint8, and targets
            `[batch_size, …]`, such as labels int64; a last incomplete batch is dropped, unless it
            is the only one.
        """


@final
@dataclass(frozen=True)
class SearchData:
    """The splits of one data set; no sample is in two of them.

    A split that is `None` is read as one without shards. Whether shards can be read, and fit a
    supernet, is seen by `inspect_splits`, before a search.

    Args:
        name: of the data set.
        num_classes: labels are `0 … num_classes - 1`; `None` for tasks without classes.
        calibration: depth-0 shards for batch-norm statistics, split off the training samples;
            empty for networks without batch norm.
        validation: depth-0 shards that steer the search, split off the training samples.
        test: depth-0 shards of held-out samples, or none; a sequence that may decode them on
            access. They are read once, for the architecture that the search chose.
        train: the samples that supernets are trained on; `None` where only a search is wanted.

    Raises:
        InputError: no name, fewer than two classes, or training samples without batches.
    """

    name: str
    num_classes: int | None
    calibration: Sequence[Shard]
    validation: Sequence[Shard]
    test: Sequence[Shard]
    train: TrainingImages | None = None

    def __post_init__(self) -> None:
        require(
            isinstance(self.name, str) and bool(self.name.strip()),
            "name",
            "a word that names the data set",
            repr(self.name),
            "Give one; records state it.",
        )
        count = self.num_classes
        require(
            count is None or (is_whole(count) and count >= 2),
            "num_classes",
            "at least 2, or None for tasks without classes",
            repr(count),
            "Give the number of classes.",
        )
        for split in SPLITS:
            if getattr(self, split) is None:
                object.__setattr__(self, split, ())
        require(
            self.train is None
            or (hasattr(self.train, "__len__") and callable(getattr(self.train, "batches", None))),
            "train",
            "training samples with len() and batches(), or None",
            f"a {type(self.train).__name__}",
            "Wrap arrays in raynas.data.ArrayImages, or use raynas.data.from_datasets.",
        )

    def __repr__(self) -> str:
        """The name, the number of classes and of the samples, not the samples themselves."""
        return f"SearchData({self.name!r}, num_classes={self.num_classes}, {self.describe_sizes()})"

    def sizes(self) -> dict[str, int | None]:
        """The number of samples for training, calibration, validation and test.

        `None` where only reading them would tell. Unreadable images are counted until then.
        """
        train = 0 if self.train is None else len(self.train)
        return {"training": train, **{split: count(getattr(self, split)) for split in SPLITS}}

    def describe_sizes(self) -> str:
        """The numbers of samples in words."""
        known = {split: "unknown" if n is None else f"{n:,}" for split, n in self.sizes().items()}
        return ", ".join(f"{number} {split}" for split, number in known.items())


def count(shards: Sequence[Shard]) -> int | None:
    """The number of samples in shards; `None` where only reading them would tell."""
    if isinstance(shards, list | tuple):
        return sum(shard.rows for shard in shards)
    known = getattr(shards, "samples", None)
    return known if is_whole(known) else None


def inspect_splits(data: SearchData, inspector: Inspector) -> None:
    """See before any long work that every split can be read, and fits.

    All shards of a split in memory (a list or tuple) are looked at, and the first one of any other
    sequence, which may decode its shards on access.

    Args:
        data: whose splits to look at; empty ones are fine.
        inspector: looks at each shard.

    Raises:
        InputError: a split that is no sequence of shards, or a shard that does not fit, or is of
            another split.
    """
    for split in SPLITS:
        shards = getattr(data, split)
        require_sequence(shards, split)
        for index in range(len(shards) if are_in_memory(shards) else min(1, len(shards))):
            shard = shards[index]
            require_shard(shard, split)
            require_fresh(shard, split)
            inspector(shard)


def require_fresh(shard: Shard, split: str) -> None:
    """Raise `InputError` unless a shard is of this split, and holds inputs."""
    require(
        shard.split == split,
        split,
        f"shards of the {split} split",
        f"one of the {shard.split} split",
        "Samples that steer a search, calibrate it or test its winner must be others: give each "
        f"split its own, or make these with make_shards(…, split={split!r}).",
    )
    require(
        not shard.prefix,
        split,
        "inputs of the supernet",
        f"activations behind the choices {list(shard.prefix)}",
        "Give the shards that these were made from.",
    )


def require_sequence(shards: object, split: str) -> None:
    """Raise `InputError` unless a split has a length and items."""
    indexable = hasattr(shards, "__len__") and hasattr(shards, "__getitem__")
    if not indexable or isinstance(shards, Mapping):
        raise InputError(
            split,
            "a sequence of shards; an empty one if there are none",
            f"a {type(shards).__name__}",
            "Make them with make_shards, or the whole with raynas.data.from_arrays or "
            "from_datasets.",
        )
