"""Reading the pickled batches of CIFAR without letting the pickle run anything.

A pickle can name any function and have it called. Here it can name three, those that rebuild a
numpy array, and what stands behind the names only keeps what it is given.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, final

import numpy as np

from raynas.errors import InputError


def read_batch(content: bytes, label_key: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch.

    Args:
        content: of the file: a pickled dictionary with `data`, uint8 `[n, 3072]`, and labels.
        label_key: under which key the labels are.
        source: the name of the file in errors.

    Returns:
        Images `[n, 3, 32, 32]` uint8, RGB, and labels `[n]` int64.

    Raises:
        InputError: a damaged file, or one that is something else.
    """
    try:
        stored = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        entries = {k.encode() if isinstance(k, str) else k: v for k, v in stored.items()}
        images = entries[b"data"].pixels().reshape(-1, 3, 32, 32)
        labels = np.array(entries[label_key.encode()])
        if labels.shape != (len(images),) or labels.dtype != np.int64:
            raise ValueError(f"{len(images)} images with labels {labels.dtype} {labels.shape}")
    # Damaged pickles fail in every way there is.
    except Exception as error:
        raise InputError(
            source,
            f"a pickled CIFAR batch with data and {label_key}",
            f"{type(error).__name__}: {error}",
            "Replace the file with an intact one.",
        ) from error
    return images, labels


@final
class _Dtype:
    """A dtype as a pickle states it."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: nothing that matters for bytes."""


@final
class _Array:
    """An array as a pickle states it."""

    state: tuple[Any, ...]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def pixels(self) -> np.ndarray:
        """The array, if it is uint8.

        Raises:
            ValueError: it is not, or it has not as many values as its shape says.
        """
        _, shape, dtype, fortran, values = self.state
        if not isinstance(dtype, _Dtype) or dtype.name not in (b"u1", "u1"):
            raise ValueError("data that is not uint8")
        if len(values) != math.prod(shape):
            raise ValueError(f"{len(values)} values for shape {shape}")
        array = np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")
        return np.ascontiguousarray(array)


@final
class _Unpickler(pickle.Unpickler):
    """Knows no names but those of a pickled numpy array."""

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for a name.

        Raises:
            UnpicklingError: any other name.
        """
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: _Array()
            case "numpy", "ndarray":
                return _Array
            case "numpy", "dtype":
                return _Dtype
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not loaded")
