"""Arrays, tensors and lists that a user holds, as arrays that a shard can own.

Nothing is rounded or wrapped without a word: a type that shards do not store is refused by name,
with the conversion that the user has to choose.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from raynas.errors import InputError, require
from raynas.inputs import DTYPES

if TYPE_CHECKING:
    from torch import Tensor

SCALARS = (bool, int, float, complex, str, bytes, np.generic, type(None))
"""Elements of a list that is one array already."""

CHECKED_AT_ONCE = 2**24
"""Values of which at most so many are looked at together, so that a check needs little memory."""

REMEDIES = {
    "bool": "Give 0 and 255 as uint8, or 0 and 1 as float32.",
    "float64": "Convert them with .astype('float32').",
    "uint16": "Scale them to the range that the network was trained on, as uint8 or float32.",
    "int8": "Pixels above 127 may have become negative: convert from the original values.",
}
"""Remedies for samples of a type that shards do not store, where a likely one is known."""


def as_array(values: object, argument: str) -> np.ndarray:
    """An array of what a user holds, without a copy where there need not be one.

    Args:
        values: a numpy array, a torch tensor (on any device, with or without gradients; bfloat16
            becomes float32), anything with `__array__`, or a list of such or of numbers.
        argument: its name in errors.

    Raises:
        InputError: anything else, a masked array, or a list of items of different shapes.
    """
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(values, torch.Tensor):
            return tensor_to_array(values)
        if isinstance(values, list | tuple):
            if all(isinstance(each, SCALARS) for each in values):
                return np.asarray(values)
            return stacked(
                [as_array(v, f"{argument}[{i}]") for i, v in enumerate(values)], argument
            )
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError("a masked array")
        if isinstance(values, np.generic | int | float) or hasattr(values, "__array__"):
            return np.asarray(values)
        raise TypeError(type(values).__name__)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            argument,
            "an array, a tensor, or a list of them",
            error,
            "Make token ids of texts, and arrays (numpy.asarray) of anything else first.",
        ) from error


def tensor_to_array(tensor: Tensor) -> np.ndarray:
    """A tensor on the host; numpy has no bfloat16, of which float32 holds every value."""
    import torch

    dense = tensor.detach()
    if dense.layout != torch.strided:
        dense = dense.to_dense()
    if dense.dtype == torch.bfloat16:
        dense = dense.to(torch.float32)
    return dense.cpu().resolve_conj().resolve_neg().numpy()


def stacked(arrays: Sequence[np.ndarray], argument: str) -> np.ndarray:
    """One array of arrays of one shape and type.

    Raises:
        InputError: different shapes or types, naming the first item that differs.
    """
    for index, array in enumerate(arrays):
        require_alike(array, arrays[0], argument, index)
    return np.stack(arrays)


def require_alike(array: np.ndarray, first: np.ndarray, argument: str, index: int) -> None:
    """Raise `InputError`, naming the index, unless an item has the first one's shape and type."""
    require(
        array.shape == first.shape and array.dtype == first.dtype,
        f"{argument}[{index}]",
        f"{first.dtype} {list(first.shape)}, as the first one",
        f"{array.dtype} {list(array.shape)}",
        "Give all samples one shape and type: resize, crop, pad or convert them.",
    )


def as_inputs(values: object, argument: str) -> np.ndarray:
    """Samples as an array of a type that shards store.

    Args:
        values: `[n, …]` of one of `raynas.inputs.DTYPES`; see `as_array` for the containers.
        argument: their name in errors.

    Raises:
        InputError: another type, fewer than two dimensions, an empty dimension of a sample, or
            floats that are not finite.
    """
    array = native(as_array(values, argument))
    require(array.ndim == 0 or len(array) > 0, argument, "at least one sample", 0, "Give it some.")
    require_storable(array, argument)
    require_finite(array, argument)
    return array


def require_storable(array: np.ndarray, argument: str) -> None:
    """Raise `InputError` unless shards store samples of an array's type and dimensions."""
    name = array.dtype.name
    require(
        name in DTYPES,
        argument,
        " or ".join(DTYPES),
        name,
        REMEDIES.get(name, "Convert them, exactly, to one of these types."),
    )
    require(
        array.ndim >= 2 and 0 not in array.shape[1:],
        argument,
        "samples [n, …] of at least one dimension each",
        list(array.shape),
        "Give each sample its dimension: values[:, None]." if array.ndim == 1 else "Fill it.",
    )


def as_targets(values: object, count: int, argument: str) -> np.ndarray:
    """Targets as int64 or float32.

    Args:
        values: `[n, …]`: integers become int64, floats the nearest float32.
        count: n, the number of samples that they belong to.
        argument: their name in errors.

    Raises:
        InputError: another number of them, truth values, text, objects, integers beyond int64, or
            floats that are not finite.
    """
    array = native(as_array(values, argument))
    require(
        array.ndim >= 1 and len(array) == count,
        argument,
        f"{count}, one for each sample",
        len(array) if array.ndim else "a single one",
        "Samples and targets that do not belong together cannot be paired.",
    )
    require(
        array.dtype.kind in "iuf",
        argument,
        "class indices as integers, or integers or floats [n, …]",
        "truth values" if array.dtype.kind == "b" else f"{array.dtype} {list(array.shape)}",
        "Convert them with .astype('int64'), if they are class indices, or .astype('float32').",
    )
    require(
        0 not in array.shape[1:],
        argument,
        "targets that are not empty",
        list(array.shape),
        "Give every sample a target.",
    )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            single = array.astype(np.float32, copy=False)
        require_finite(single, argument)
        return single
    require(
        array.dtype != np.uint64 or not len(array) or int(array.max()) < 2**63,
        argument,
        "integers below 2**63",
        array.max(initial=0),
        "Convert them to int64.",
    )
    return array.astype(np.int64, copy=False)


def as_weights(values: object, argument: str) -> np.ndarray:
    """Importance weights of samples, float64.

    Args:
        values: `[n]` numbers.
        argument: their name in errors.

    Raises:
        InputError: anything else, numbers below 0, or a sum that is 0 or not finite.
    """
    weights = as_array(values, argument)
    numbers = weights.ndim == 1 and weights.dtype.kind in "biuf" and len(weights) > 0
    known = weights.astype(np.float64) if numbers else np.full(1, np.nan)
    with np.errstate(over="ignore"):
        total = float(known.sum())
    require(
        known.min() >= 0.0 and 0.0 < total < np.inf,
        argument,
        "finite numbers [n], none below 0 and some above",
        f"{weights.min()} to {weights.max()}"
        if numbers
        else f"{weights.dtype} {list(weights.shape)}",
        "Give one for each sample; leave out shards whose samples do not count.",
    )
    return known


def native(array: np.ndarray) -> np.ndarray:
    """The same values in this machine's order of bytes."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def require_finite(array: np.ndarray, argument: str) -> None:
    """Raise `InputError`, naming the first sample, if a float is NaN or infinite."""
    if array.dtype.kind != "f":
        return
    step = max(1, CHECKED_AT_ONCE // max(1, array[:1].size))
    for start in range(0, len(array), step):
        part = array[start : start + step]
        bad = ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                argument,
                "finite values",
                f"NaN or infinity in sample {start + int(bad.argmax())}",
                "Replace what is missing, or leave these samples out.",
            )


def owned(array: np.ndarray) -> np.ndarray:
    """A read-only array that shares its memory with no other.

    One that is so already is kept: nobody can write to it but who made it.
    """
    if array.base is None and array.flags.c_contiguous and not array.flags.writeable:
        return array
    copy = np.array(array, order="C", copy=True, subok=False)
    copy.flags.writeable = False
    return copy
