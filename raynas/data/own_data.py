"""A user's own arrays and data sets, as the data of a search and a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.data.arrays import Labelled, in_memory
from raynas.data.counts import class_count, class_indices, split_counts, split_rows
from raynas.data.items import collect
from raynas.data.splits import SearchData
from raynas.errors import InputError, require
from raynas.shards.samples import as_inputs, as_targets
from raynas.shards.shard import CALIBRATION, TEST, VALIDATION


def from_arrays(
    inputs: Any,
    targets: Any,
    *,
    name: str,
    num_classes: int | None = None,
    calibration: int | None = None,
    validation: int | None = None,
    test: int | tuple[Any, Any] | None = None,
    shard_size: int = 100,
    seed: int = 0,
    pad: int = 0,
    flip: bool = False,
) -> SearchData:
    """Split samples that are in memory: class-stratified where there are classes, else at random.

    What calibration, validation and test leave is for training. All arrays are copied.

    Args:
        inputs: `[n, …]`, arrays, tensors or lists of one fixed shape: images `[n, c, h, w]` uint8,
            floats (float32 or float16), or token ids (int64 or int32) `[n, length]`.
        targets: `[n]` class indices from 0; or, for tasks without classes, floats `[n, …]` (kept as
            float32) or integers of more dimensions, such as segmentation maps `[n, h, w]`.
        name: of the data set.
        num_classes: where targets are class indices, which may then be whole floats, too; `None`
            counts the classes of integers `[n]`, each of which must have samples.
        calibration: the number of samples for batch-norm statistics, 0 for networks without batch
            norm; by default a tenth of all, from 2 to 1,000.
        validation: the number of samples that steer the search; by default a fifth, at most 5,000.
        test: the number of held-out samples, 0 for none, by default a fifth, at most 10,000; or
            ready-made ones, a pair of inputs and targets.
        shard_size: the largest number of samples in a shard, which is the batch of the evaluation.
        seed: of the split.
        pad: how far training images are shifted at most, in pixels.
        flip: whether half of the training images are mirrored left to right.

    Raises:
        InputError: inputs or targets of another kind, not one target for each input, values that
            are not finite, labels outside the classes, or too few samples.
    """
    samples = labelled(inputs, targets, num_classes, "inputs", "targets")
    classes = class_count(samples.labels, num_classes, "targets")
    asked: dict[str, int | None] = {CALIBRATION: calibration, VALIDATION: validation}
    ready = None
    if isinstance(test, tuple | list):
        ready = held_out(test, samples, classes)
    else:
        asked[TEST] = test
    sizes = split_counts(len(samples.images), asked, "inputs")
    strata = None if classes is None else samples.labels
    parts = split_rows(strata, len(samples.images), sizes, seed)
    splits = {split: samples.select_rows(rows) for split, rows in parts.items()}
    if ready is not None:
        splits[TEST] = ready
    return in_memory(name, classes, splits, shard_size=shard_size, pad=pad, flip=flip)


def from_datasets(
    train: Any,
    test: Any = None,
    *,
    name: str,
    columns: tuple[str, str] | None = None,
    num_classes: int | None = None,
    calibration: int | None = None,
    validation: int | None = None,
    shard_size: int = 100,
    seed: int = 0,
    pad: int = 0,
    flip: bool = False,
) -> SearchData:
    """Read every sample of data sets once into memory, and split them as `from_arrays` does.

    A random transform of a data set is therefore drawn once for each sample, for validation as
    well: leave augmentation to `pad` and `flip`, or write a `TrainingImages`. And what a data set's
    own loader has lost is not seen here: torchvision's `ImageFolder` clips images of 16 bits, which
    `from_folder` refuses.

    Args:
        train: anything with a length whose items are pairs of a sample and a target, such as data
            sets of torch and torchvision or a list. A sample is a tensor or an array of one fixed
            shape (floats stay floats), or a Pillow image of 8 bits, which becomes uint8
            `[c, h, w]`: grey ones of one channel, all others RGB.
        test: a data set of held-out samples, the number of them to split off `train`, or `None` for
            the default number.
        name: of the data set.
        columns: where items are dictionaries, the names of the sample and the target.
        num_classes, calibration, validation, shard_size, seed, pad, flip: as in `from_arrays`.

    Raises:
        InputError: something that has no length or items, an item that is no such pair or cannot be
            read, samples of different shapes or types (the index is named), or what `from_arrays`
            refuses.
    """
    counted = test is None or isinstance(test, int | np.integer)
    inputs, targets = collect(train, "train", columns)
    return from_arrays(
        inputs,
        targets,
        name=name,
        num_classes=num_classes,
        calibration=calibration,
        validation=validation,
        test=test if counted else collect(test, "test", columns),
        shard_size=shard_size,
        seed=seed,
        pad=pad,
        flip=flip,
    )


def labelled(
    inputs: Any, targets: Any, num_classes: int | None, inputs_name: str, targets_name: str
) -> Labelled:
    """Samples and their targets as arrays; whole floats as indices where there are classes."""
    samples = as_inputs(inputs, inputs_name)
    known = as_targets(targets, len(samples), targets_name)
    return Labelled(samples, class_indices(known, num_classes))


def held_out(test: Sequence[Any], samples: Labelled, num_classes: int | None) -> Labelled:
    """Ready-made test samples, of the same kind as the others.

    Raises:
        InputError: no pair, samples of another shape or type, or targets of another kind.
    """
    if len(test) != 2:
        raise InputError(
            "test", "a pair of inputs and targets", f"{len(test)} items", "Give both, or a count."
        )
    inputs, targets = test
    ready = labelled(inputs, targets, num_classes, "test inputs", "test targets")
    for argument, array, other in (
        ("test inputs", ready.images, samples.images),
        ("test targets", ready.labels, samples.labels),
    ):
        require(
            array.shape[1:] == other.shape[1:] and array.dtype == other.dtype,
            argument,
            f"{other.dtype} of shape {other.shape[1:]}, as the others have",
            f"{array.dtype} of shape {array.shape[1:]}",
            "Prepare them as the others.",
        )
    if num_classes is not None:
        class_count(ready.labels, num_classes, "test targets")
    return ready
