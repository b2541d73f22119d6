"""Reading idx files, the format of the MNIST family."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from raynas.errors import InputError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    The file begins with two zero bytes, the type of the values, the number of dimensions, and
    their sizes as big-endian 32-bit integers; the values follow.

    Args:
        path: gzip-compressed if it ends in `.gz`.

    Returns:
        uint8, of the shape that the file states.

    Raises:
        InputError: the file cannot be read, is not an idx file of unsigned bytes, or is longer or
            shorter than it states.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, "a readable, complete file", error) from error
    if len(content) < 4 or content[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise damaged(path, "an idx file of unsigned bytes", f"first bytes {content[:4]!r}")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise damaged(path, f"a header of {header} bytes", f"{len(content)} bytes in all")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise damaged(path, f"values of shape {shape}", f"{len(content) - header} values")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def damaged(path: Path, expected: str, got: object) -> InputError:
    """An error about a file that is not what it should be."""
    return InputError(str(path), expected, got, "Replace the file with an intact one.")
