"""Numbers and choice of the samples of a user's data that each split gets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raynas.data.arrays import TRAIN, require_count
from raynas.data.stratify import stratified_split
from raynas.errors import InputError, require
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION
from raynas.task import Classification

SHARES = {CALIBRATION: (10, 2, 1_000), VALIDATION: (5, 1, 5_000), TEST: (5, 1, 10_000)}
"""The default of each split: one in so many samples, but at least and at most so many."""


def default_count(split: str, available: int) -> int:
    """The number of samples that a split gets of `available` ones if none is asked for."""
    one_in, least, most = SHARES[split]
    return min(max(available // one_in, least), most)


def split_counts(available: int, asked: Mapping[str, int | None], argument: str) -> dict[str, int]:
    """The number of samples that each split gets, empty splits left out.

    Args:
        available: the number of samples to split; one at least is left for training if every
            count is a default.
        asked: for each split its number of samples; 0 for none, `None` for its default.
        argument: the name of the samples in errors.

    Raises:
        InputError: a count that is no number of samples, no validation samples, or too few samples.
    """
    counts = {}
    for split, count in asked.items():
        if count is not None:
            least = 1 if split == VALIDATION else 0
            require_count(count, split, least, "Give a number of samples, or None for the default.")
        counts[split] = default_count(split, available) if count is None else int(count)
    needed = sum(counts.values()) + any(count is None for count in asked.values())
    if needed > available:
        wanted = " + ".join(f"{split} {count}" for split, count in counts.items())
        raise InputError(
            argument,
            f"at least {needed} samples ({wanted}, and one to train on)"
            if needed > sum(counts.values())
            else f"at least {needed} samples ({wanted})",
            available,
            "Ask for smaller splits, or give more samples.",
        )
    return {split: count for split, count in counts.items() if count}


def split_rows(
    labels: np.ndarray | None, count: int, sizes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Disjoint random parts of `count` samples, and `"train"` of what they leave, if anything.

    Args:
        labels: `[count]` class indices to stratify by, or `None`.
        count: the number of samples.
        sizes: of each part.
        seed: of the draw.

    Raises:
        InputError: a seed that is no natural number.
    """
    require_count(seed, "seed", 0, "Use a whole number such as 0.")
    rest = TRAIN if sum(sizes.values()) < count else None
    # Samples of one class are merely shuffled.
    strata = np.zeros(count, dtype=np.int64) if labels is None else labels
    return stratified_split(strata, sizes, int(seed), rest=rest)


def class_count(targets: np.ndarray, num_classes: int | None, argument: str) -> int | None:
    """The number of classes of targets, `None` if they are no class indices.

    Args:
        targets: `[n, …]` int64 or float32.
        num_classes: as a user gave it; `None` infers it from class indices.
        argument: the name of the targets in errors.

    Raises:
        InputError: indices below 0 or not below `num_classes`, other targets beside `num_classes`,
            or, where it is not given, a class below the highest one without samples.
    """
    if num_classes is not None:
        Classification(num_classes).require_targets(targets, argument)
        return int(num_classes)
    if targets.ndim != 1 or targets.dtype != np.int64:
        return None
    present = np.unique(targets)
    require(
        len(present) >= 2 and present[0] == 0 and present[-1] == len(present) - 1,
        argument,
        "class indices from 0, and samples of every class",
        f"{len(present)} classes from {present[0]} to {present[-1]}",
        "Number the classes from 0, give num_classes if some have no samples, or convert targets "
        "that are no classes to floats.",
    )
    return len(present)


def class_indices(targets: np.ndarray, num_classes: int | None) -> np.ndarray:
    """Targets, whole floats `[n]` as the indices that they are where there are classes."""
    whole = num_classes is not None and targets.ndim == 1 and targets.dtype == np.float32
    if not whole or (targets != np.rint(targets)).any():
        return targets
    return targets.astype(np.int64)
