"""`Inputs`: what one sample is before it enters a network, and fixed examples of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.errors import require

DTYPES = ("uint8", "float32", "float16", "int64", "int32")
"""Types that samples may have."""


@final
@dataclass(frozen=True)
class Inputs:
    """The shape and type of every sample: images, feature vectors, token sequences.

    Args:
        shape: of one sample, without the batch: `(3, 224, 224)`, or `(64,)` for 64 tokens.
        dtype: `"uint8"` (pixels from 0 to 255), `"float32"`, `"float16"`, `"int64"` or `"int32"`.
        vocabulary: for integers, the number of token ids; they are `0 … vocabulary - 1`.

    Raises:
        InputError: no positive sizes, another type, or a vocabulary where there are no tokens.
    """

    shape: tuple[int, ...]
    dtype: str = "uint8"
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        require(
            len(self.shape) > 0
            and all(isinstance(size, int | np.integer) and size > 0 for size in self.shape),
            "inputs.shape",
            "positive sizes of one sample, such as (3, 224, 224)",
            self.shape,
            "Leave the batch out.",
        )
        require(
            self.dtype in DTYPES,
            "inputs.dtype",
            " or ".join(map(repr, DTYPES)),
            repr(self.dtype),
            "Choose one of them.",
        )
        tokens = self.dtype.startswith("int")
        require(
            self.vocabulary is None or (tokens and self.vocabulary >= 1),
            "inputs.vocabulary",
            "a positive number, beside an integer dtype",
            (self.vocabulary, self.dtype),
            "Leave it out unless the samples are token ids.",
        )

    def examples(self, count: int, seed: int = 0) -> np.ndarray:
        """Fixed samples `[count, *shape]` for checks and fingerprints: the same everywhere.

        Pixels are any bytes, floats lie in [-2, 2), and token ids are below the vocabulary (0 and
        1 where it is not known).
        """
        size = (count, *self.shape)
        # Not a generator of numpy's, whose streams may change between versions.
        steps = np.arange(np.prod(size), dtype=np.uint64) + np.uint64(seed * 7_919 + 1)
        mixed = steps * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        if self.dtype == "uint8":
            return (mixed & np.uint64(255)).astype(np.uint8).reshape(size)
        if self.dtype.startswith("float"):
            unit = (mixed >> np.uint64(40)).astype(np.float64) / 2.0**24
            return (4.0 * unit - 2.0).astype(self.dtype).reshape(size)
        ids = np.uint64(2 if self.vocabulary is None else self.vocabulary)
        return (mixed % ids).astype(self.dtype).reshape(size)
