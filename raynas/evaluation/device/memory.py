"""Doing with less memory: the same work in smaller batches, where batches do not matter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from raynas.errors import InputError

T = TypeVar("T")

EXHAUSTED = (
    "CUDA error: out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Messages of a plain `RuntimeError` where torch's CPU allocator, or CUDA, finds no memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, so that a smaller one may succeed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in EXHAUSTED)


def halve_until_it_fits(rows: int, attempt: Callable[[int], T]) -> tuple[T, int]:
    """Try a batch of all rows, then of half as many, down to one row at a time.

    Each attempt starts over, so that what comes out depends on the last batch size alone.

    Args:
        rows: the largest batch, at least 1.
        attempt: does the whole work in batches of the given size.

    Returns:
        What the attempt that had memory enough returned, and how often the batch was halved.

    Raises:
        InputError: not even a batch of one row fits.
        Exception: what an attempt raised for another reason.
    """
    size, halvings = rows, 0
    while True:
        try:
            return attempt(size), halvings
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise InputError(
                    "device",
                    "memory enough for one image at a time",
                    brief(error),
                    "Use a device with more memory, or smaller images.",
                ) from error
        # Outside the handler, where no traceback holds the tensors of the attempt any more.
        size, halvings = (size + 1) // 2, halvings + 1
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


@contextmanager
def undivided(rows: int) -> Iterator[None]:
    """A context for work on a batch that is normalised as a whole: parts would give other results.

    Raises:
        InputError: the batch does not fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "shard_size",
            "calibration shards that fit in a worker's memory, since each is normalised as a whole",
            f"out of memory with {rows} images: {brief(error)}",
            "Make the data with a smaller shard_size, or use a device with more memory.",
        ) from error


def warn_of_halving() -> None:
    """Tell the user that workers went on in smaller batches."""
    warnings.warn(
        "a worker ran out of memory and went on in batches of half a shard or less: that takes "
        "longer, and scores may differ in their last bits, so that a ledger does not keep them. "
        "Make the data with a smaller shard_size, or use a device with more memory.",
        RuntimeWarning,
        stacklevel=3,
    )


def brief(error: BaseException) -> str:
    """The first line of an error's message, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
