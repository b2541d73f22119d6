"""Reading the items of indexable data sets into arrays, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from raynas.data.pixels import require_eight_bits, rgb
from raynas.errors import InputError, require
from raynas.shards.samples import as_array, require_alike, require_storable, stacked

PAIR = "a pair of a sample and a target"


def collect(
    dataset: Any, argument: str, columns: tuple[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All samples `[n, …]` and targets `[n, …]` of a data set.

    Args:
        dataset: has a length and items.
        argument: its name in errors.
        columns: where items are dictionaries, the names of the sample and the target.

    Raises:
        InputError: no length or items, none at all, an item that is no pair or cannot be read, or
            items of different shapes or types, each with its index.
    """
    require_columns(columns)
    count = length(dataset, argument)
    samples: np.ndarray | None = None
    targets = []
    for index in range(count):
        place = f"{argument}[{index}]"
        sample, target = pair(item(dataset, index, place), place, columns)
        array = sample_array(sample, place)
        if samples is None:
            require_storable(array[None], place)
            samples = np.empty((count, *array.shape), array.dtype)
        require_alike(array, samples[0], argument, index)
        samples[index] = array
        targets.append(target)
    assert samples is not None
    return samples, target_array(targets, f"{argument} targets")


def require_columns(columns: object) -> None:
    """Raise `InputError` unless columns are the names of two, if there are any."""
    require(
        columns is None or (isinstance(columns, tuple | list) and len(columns) == 2),
        "columns",
        "the names of two columns",
        repr(columns),
        "Write it as columns=('image', 'label').",
    )


def length(dataset: Any, argument: str) -> int:
    """The number of items; `InputError` for what has no length or items, or none."""
    require(
        not isinstance(dataset, Mapping),
        argument,
        "one data set",
        f"a dictionary of {', '.join(map(str, dataset)) if isinstance(dataset, Mapping) else ''}",
        "Give one of its values, such as dataset['train'].",
    )
    try:
        count = len(dataset)
        if not hasattr(dataset, "__getitem__"):
            raise TypeError(f"a {type(dataset).__name__} without items")
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            argument,
            "something with len() and [index]",
            error,
            "Give the data set itself instead of a loader (loader.dataset), or list(stream).",
        ) from error
    if count == 0:
        raise InputError(argument, "at least one sample", 0, "Give it some.")
    return count


def item(dataset: Any, index: int, place: str) -> Any:
    """One item of a data set, whose own errors become an `InputError` that names it."""
    try:
        return dataset[index]
    except Exception as error:
        raise InputError(
            place, PAIR, f"{type(error).__name__}: {error}", "Mend the data set."
        ) from error


def pair(found: Any, place: str, columns: tuple[str, str] | None) -> tuple[Any, Any]:
    """The sample and the target of an item."""
    if isinstance(found, Mapping):
        if columns is None or any(column not in found for column in columns):
            raise InputError(
                place,
                PAIR if columns is None else f"columns {' and '.join(columns)}",
                f"columns {', '.join(map(str, found))}",
                "Name the columns of the sample and the target: columns=('image', 'label').",
            )
        return found[columns[0]], found[columns[1]]
    if not isinstance(found, tuple | list) or len(found) != 2:
        shown = f"a {type(found).__name__}"
        if isinstance(found, tuple | list):
            shown += f" of {len(found)}"
        raise InputError(place, PAIR, shown, "Make the data set give (sample, target).")
    return found[0], found[1]


def sample_array(sample: Any, place: str) -> np.ndarray:
    """A sample as an array; a Pillow image as uint8, `[1, h, w]` if grey, else `[3, h, w]`."""
    if not isinstance(sample, Image.Image):
        return as_array(sample, place)
    require_eight_bits(sample, place)
    if sample.mode in ("1", "L"):
        return np.asarray(sample.convert("L"))[None]
    return np.asarray(rgb(sample)).transpose(2, 0, 1)


def target_array(targets: Sequence[Any], argument: str) -> np.ndarray:
    """The targets of all items as one array, numbers as numpy has them."""
    # A segmentation map as an image: its values, of a palette the indices.
    values = [np.asarray(t) if isinstance(t, Image.Image) else t for t in targets]
    arrays = [as_array(value, f"{argument}[{i}]") for i, value in enumerate(values)]
    if all(array.ndim == 0 for array in arrays):
        # Python's whole numbers among its floats.
        return np.array(arrays)
    return stacked(arrays, argument)
