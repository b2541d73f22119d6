"""What users hold, as arrays: taken exactly, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raynas.errors import InputError
from raynas.shards import samples as samples_module
from raynas.shards.samples import as_array, as_inputs, as_targets, owned

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)


class Framed:
    """Something of another library that numpy can read."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return PIXELS


@pytest.mark.parametrize(
    "held",
    [
        PIXELS,
        PIXELS[:, :, ::-1][:, :, ::-1],
        np.asfortranarray(PIXELS),
        torch.from_numpy(PIXELS.copy()),
        torch.from_numpy(PIXELS.copy()).to_sparse(),
        list(PIXELS),
        tuple(torch.from_numpy(PIXELS.copy())),
        [[np.array(channel) for channel in image] for image in PIXELS],
        Framed(),
    ],
)
def test_samples_are_taken_as_they_are(held: object) -> None:
    found = as_inputs(held, "images")
    assert found.dtype == np.uint8
    assert np.array_equal(found, PIXELS)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int32"])
def test_samples_keep_their_type(dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    for held in (values, values.astype(values.dtype.newbyteorder(">")), torch.from_numpy(values)):
        found = as_inputs(held, "inputs")
        assert found.dtype == np.dtype(dtype)
        assert found.dtype.isnative
        assert np.array_equal(found, values)


def test_tensors_with_gradients_and_bfloat16_are_taken_exactly() -> None:
    tensor = torch.tensor([[1.5, -2.25]], requires_grad=True)
    assert as_inputs(tensor, "inputs").tolist() == [[1.5, -2.25]]
    assert as_inputs(tensor.detach().to(torch.bfloat16), "inputs").dtype == np.float32
    assert as_inputs([[1, 2], [3, 4]], "inputs").dtype == np.int64


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (PIXELS.astype(np.float64), r"float64\. Convert them with \.astype\('float32'\)"),
        (PIXELS.astype(np.uint16), "uint16. Scale them"),
        (PIXELS.astype(np.int8), "int8. Pixels above 127"),
        (PIXELS > 3, "bool. Give 0 and 255 as uint8"),
        (PIXELS.astype(np.complex64), "complex64"),
        (PIXELS.astype(str), "<U3|str"),
        (np.array([{}, {}]), "object"),
        (np.zeros(4, np.uint8), r"values\[:, None\]"),
        (np.zeros((2, 0), np.uint8), "at least one dimension each"),
        (np.zeros((0, 3), np.uint8), "at least one sample"),
        ([], "at least one sample"),
        (np.array([[0, 1], [np.nan, 1]], np.float32), "NaN or infinity in sample 1"),
        (torch.tensor([[0.0], [1.0], [-torch.inf]]), "NaN or infinity in sample 2"),
        (np.ma.array(PIXELS, mask=PIXELS > 3), "masked"),
        ([np.zeros((1, 2)), np.zeros((1, 3))], r"inputs\[1\]: expected float64 \[1, 2\].*\[1, 3\]"),
        ([[1, 2, 3], [4, 5]], r"inputs\[1\]: expected int64 \[3\]"),
        ([[1, 2], ["a", "b"]], r"inputs\[1\]"),
        (None, "got NoneType"),
        (iter(PIXELS), "iterator"),
        (torch.empty(2, 3, device="meta"), "an array, a tensor"),
        ("text", "got str"),
    ],
)
def test_samples_of_another_kind_are_refused(held: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        as_inputs(held, "inputs")
    assert caught.value.argument.startswith("inputs")


def test_a_value_that_is_not_finite_is_found_in_any_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "CHECKED_AT_ONCE", 10)
    for row in range(11):
        values = np.zeros((11, 4), np.float32)
        values[row, row % 4] = np.nan
        with pytest.raises(InputError, match=f"in sample {row}\\."):
            as_inputs(values, "inputs")
    as_inputs(np.zeros((11, 4), np.float32), "inputs")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "uint64", ">i8"])
def test_integers_become_int64_exactly(dtype: str) -> None:
    found = as_targets(np.array([0, 5, 127], dtype), 3, "labels")
    assert (found.dtype, found.tolist()) == (np.int64, [0, 5, 127])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_floats_become_float32(dtype: str) -> None:
    found = as_targets(np.array([[0.1, 2], [3, -4.5]], dtype), 2, "targets")
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array([[0.1, 2], [3, -4.5]], dtype).astype(np.float32))


def test_lists_and_tensors_are_targets() -> None:
    assert as_targets([2, 0, 1], 3, "labels").tolist() == [2, 0, 1]
    assert as_targets([torch.tensor(2), torch.tensor(0)], 2, "labels").tolist() == [2, 0]
    assert as_targets(torch.tensor([0.5, 1.0], requires_grad=True), 2, "t").dtype == np.float32


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (np.zeros(3, int), "expected 2, one for each sample, got 3"),
        (np.int64(3), "a single one"),
        (np.array([True, False]), "truth values"),
        (np.array(["a", "b"]), "<U1"),
        (np.array([None, 1]), "object"),
        (np.array([1, 2**63], np.uint64), "below 2"),
        (np.array([0.0, np.nan]), "NaN or infinity in sample 1"),
        (np.array([0.0, 1e300]), "NaN or infinity in sample 1"),
        (np.zeros((2, 0)), "not empty"),
        (np.zeros(2, complex), "complex"),
        (np.zeros(2, "M8[s]"), "datetime"),
        ({"a": 1, "b": 2}, "got dict"),
    ],
)
def test_targets_of_another_kind_are_refused(held: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        as_targets(held, 2, "targets")
    assert caught.value.argument == "targets"


def test_only_an_array_that_nobody_else_writes_to_is_kept() -> None:
    own = np.arange(6).reshape(2, 3).copy()
    copy = owned(own)
    assert not np.shares_memory(copy, own)
    assert not copy.flags.writeable
    assert owned(copy) is copy
    view = own[:1]
    view.flags.writeable = False
    assert not np.shares_memory(owned(view), own)
    assert as_array(own, "x") is own
