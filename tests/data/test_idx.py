"""Idx files: what was written is read, and damaged files are named."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.data.idx import read_idx
from raynas.errors import InputError


def encode(array: np.ndarray) -> bytes:
    """An idx file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
def test_reads_what_was_written(shape, compressed):
    array = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    content = encode(array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.gz" if compressed else "file")
        path.write_bytes(gzip.compress(content) if compressed else content)
        read = read_idx(path)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


@given(st.data())
def test_any_cut_is_an_error_that_names_the_file(data):
    content = encode(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    compressed = data.draw(st.booleans())
    content = gzip.compress(content) if compressed else content
    kept = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cut.gz" if compressed else "cut")
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match="cut"):
            read_idx(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not gzip at all", id="not compressed"),
        pytest.param(gzip.compress(b"\x00\x00\x0d\x01" + bytes(8)), id="floats"),
        pytest.param(gzip.compress(encode(np.zeros(3, np.uint8)) + b"x"), id="one byte more"),
        pytest.param(gzip.compress(encode(np.zeros(3, np.uint8)))[:-8] + bytes(8), id="checksum"),
        pytest.param(gzip.compress(b"\x00\x00\x08\x03" + b"\xff" * 12), id="absurd shape"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "damaged.gz"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_idx(path)
    assert caught.value.argument == str(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.gz"):
        read_idx(tmp_path / "none.gz")
