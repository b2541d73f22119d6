"""How activations are stored: what comes back, how far off, and in which layout."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raynas.errors import InputError
from raynas.shards.features import StoredFeatures
from raynas.shards.storage import (
    AFFINE_MAX,
    FLOAT16_MAX,
    channels_last,
    decode,
    encode,
    laid_out,
    pack_nibbles,
    unpack_nibbles,
)

CPU = torch.device("cpu")
SHAPES = st.tuples(*[st.integers(1, 4)] * 4)
VALUES = {"elements": st.floats(width=32, allow_nan=True, allow_infinity=True), "fill": st.just(0)}
FEATURES = arrays.arrays(np.float32, SHAPES, **VALUES)
RANKS = arrays.array_shapes(min_dims=2, max_dims=5, max_side=4)
ANY_RANK = arrays.arrays(np.float32, RANKS, **VALUES)
AFFINE = pytest.mark.parametrize("bits", [8, 4])
QUICK = settings(max_examples=40)
TINY = 1e-40
"""Where float32's steps are no longer relative."""


def back(features: np.ndarray, bits: int) -> np.ndarray:
    return decode(encode(torch.tensor(features), bits), CPU).numpy()


def per_channel(features: np.ndarray) -> np.ndarray:
    """`[c, values of the channel]`, clamped as affine codes are; sequences have theirs last."""
    axis = 2 if features.ndim == 3 else 1
    flat = np.moveaxis(features, axis, 0).reshape(features.shape[axis], -1).astype(np.float64)
    return np.where(np.isfinite(flat), flat.clip(-AFFINE_MAX, AFFINE_MAX), flat)


@QUICK
@given(FEATURES)
def test_32_bits_come_back_as_they_were(features):
    stored = encode(torch.tensor(features), 32)
    assert (stored.quantization, stored.values.dtype) == ("float32", np.float32)
    assert np.array_equal(decode(stored, CPU).numpy(), features, equal_nan=True)


@QUICK
@given(FEATURES)
def test_16_bits_are_the_nearest_half_within_its_range(features):
    stored = encode(torch.tensor(features), 16)
    assert (stored.quantization, stored.values.dtype) == ("float16", np.float16)
    found = decode(stored, CPU)
    assert found.dtype == torch.float32
    finite = np.isfinite(features)
    nearest = np.clip(features, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
    assert np.array_equal(stored.values[finite], nearest[finite])
    assert np.isfinite(found.numpy()[finite]).all()
    assert np.array_equal(found.numpy()[~finite], features[~finite], equal_nan=True)


@QUICK
@given(FEATURES)
def test_storing_again_at_16_bits_loses_nothing_more(features):
    once = back(features, 16)
    assert np.array_equal(back(once, 16), once, equal_nan=True)


@AFFINE
@QUICK
@given(features=FEATURES | ANY_RANK)
@example(features=np.full((2, 1, 1, 1), 3.4e38, np.float32) * np.float32([[[[1]]], [[[-1]]]]))
@example(features=np.full((2, 1, 1, 2), np.nan, np.float32))
@example(features=np.full((1, 2, 3, 1), -7.25, np.float32))
@example(features=np.zeros((2, 3, 1, 1), np.float32))
def test_affine_codes_are_off_by_half_a_step_at_most(features, bits):
    found = back(features, bits)
    assert (found.dtype, found.shape) == (np.float32, features.shape)
    for wanted, got in zip(per_channel(features), per_channel(found), strict=True):
        finite = np.isfinite(wanted)
        assert np.array_equal(got[~finite], wanted[~finite], equal_nan=True)
        if not finite.any():
            continue
        levels = 2**bits - 1 - (0 if finite.all() else 3)
        half = np.ptp(wanted[finite]) / levels / 2
        rounding = 2e-7 * np.abs(wanted[finite]).max() + TINY
        assert np.abs(got[finite] - wanted[finite]).max() <= half + rounding
        assert got[finite].min() == wanted[finite].min()


@AFFINE
def test_each_channel_has_a_scale_of_its_own(bits):
    features = torch.rand(5, 3, 4, 3) * torch.tensor([1e-6, 1.0, 1e6]).view(1, 3, 1, 1)
    low, step, top = encode(features, bits).channels
    assert np.array_equal(low, features.amin((0, 2, 3)).numpy())
    assert np.allclose(low + step * top, features.amax((0, 2, 3)).numpy(), rtol=1e-6)
    assert (top == 2**bits - 1).all()
    error = np.abs(back(features.numpy(), bits) - features.numpy()).max((0, 2, 3))
    assert (error <= step * 0.5001).all()


@AFFINE
def test_each_feature_of_a_sequence_has_a_scale_of_its_own(bits):
    tokens = torch.rand(6, 7, 3) * torch.tensor([1e-6, 1.0, 1e6])
    low, step, top = encode(tokens, bits).channels
    assert np.array_equal(low, tokens.amin((0, 1)).numpy())
    assert np.allclose(low + step * top, tokens.amax((0, 1)).numpy(), rtol=1e-6)
    error = np.abs(back(tokens.numpy(), bits) - tokens.numpy()).max((0, 1))
    assert (error <= step * 0.5001).all()


@AFFINE
def test_vectors_have_a_scale_for_each_feature(bits):
    vectors = torch.rand(9, 3) * torch.tensor([1e-6, 1.0, 1e6])
    low, step, _ = encode(vectors, bits).channels
    assert np.array_equal(low, vectors.amin(0).numpy())
    assert (np.abs(back(vectors.numpy(), bits) - vectors.numpy()).max(0) <= step * 0.5001).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floats_of_fewer_bits_come_back_exactly_as_float32(dtype):
    features = torch.randn(3, 4, 2, 2).to(dtype)
    found = decode(encode(features, 32), CPU)
    assert found.dtype == torch.float32
    assert torch.equal(found, features.to(torch.float32))


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.int32, torch.bool])
def test_activations_that_would_come_back_as_another_type_are_refused(dtype, bits):
    with pytest.raises(InputError, match=r"floats of at most 32 bits, .* got torch\."):
        encode(torch.ones(3, 4, 2, 2, dtype=dtype), bits)


@AFFINE
@QUICK
@given(features=FEATURES)
def test_storing_again_at_few_bits_keeps_the_codes(features, bits):
    once = encode(torch.tensor(features), bits)
    again = encode(decode(once, CPU), bits)
    # A step that float32 cannot tell from its neighbours may come out as another one.
    steady = once.channels[1] > 1e-6 * np.abs(once.channels[0]) + TINY
    rows = np.flatnonzero(steady & (again.channels[2] == once.channels[2]))
    first, second = (decode(e, CPU).numpy()[:, rows] for e in (once, again))
    assert np.allclose(first, second, rtol=1e-5, atol=1e-5 * AFFINE_MAX, equal_nan=True)
    assert np.isfinite(once.channels).all()


@AFFINE
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_costs_only_its_own_channel_its_codes(value, bits):
    features = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    clean = back(features, bits)
    features[1, 2, 0, 1] = value
    found = back(features, bits)
    assert np.array_equal(found[:, :2], clean[:, :2])
    assert np.array_equal(found[1, 2, 0, 1], np.float32(value), equal_nan=True)
    assert np.isfinite(np.delete(found[:, 2].ravel(), 9 + 1)).all()


@QUICK
@given(
    arrays.arrays(
        np.uint8, arrays.array_shapes(min_dims=2, max_dims=5), elements=st.integers(0, 15)
    )
)
def test_nibbles_of_any_shape_come_back(codes):
    packed = pack_nibbles(torch.tensor(codes))
    size = prod(codes.shape[1:])
    assert packed.dtype == torch.uint8
    assert packed.shape == (len(codes), -(-size // 2))
    assert np.array_equal(unpack_nibbles(packed, codes.shape[1:]).numpy(), codes)


@QUICK
@given(FEATURES, st.sampled_from([32, 16, 8, 4]), st.data())
def test_rows_that_are_taken_come_back_as_among_all(features, bits, data):
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(features) - 1), min_size=1))))
    stored = encode(torch.tensor(features), bits)
    whole, part = (decode(s, CPU).numpy() for s in (stored, stored.select_rows(rows)))
    assert np.array_equal(part, whole[rows], equal_nan=True)


def test_inputs_stay_as_they_are():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    pixels.flags.writeable = False
    decoded = decode(StoredFeatures.of_inputs(pixels), CPU)
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.numpy(), pixels)
    decoded.zero_()
    assert pixels.sum() == np.arange(24).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.int32])
def test_inputs_of_any_type_keep_it(dtype):
    inputs = np.arange(24).reshape(2, 3, 4).astype(dtype)
    decoded = decode(StoredFeatures.of_inputs(inputs), CPU)
    assert decoded.numpy().dtype == dtype
    assert np.array_equal(decoded.numpy(), inputs)


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_channels_are_first_in_the_store_and_last_in_memory(bits):
    features = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    stored = encode(features, bits)
    assert stored.values.shape == ((2, 30) if bits == 4 else (2, 3, 4, 5))
    assert stored.shape == (3, 4, 5)
    assert stored.values.flags.c_contiguous
    assert decode(stored, CPU).is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(stored.values, encode(features.contiguous(), bits).values)


def test_feature_maps_have_channels_last_and_all_else_is_in_order():
    flat = torch.randn(3, 4)
    assert channels_last(flat) is flat
    assert channels_last(flat.t()).stride() == (3, 1)
    assert channels_last(torch.randn(2, 3, 4, 4)).stride() == (48, 1, 12, 3)


@pytest.mark.parametrize(
    "shape", [(4, 3), (4, 1), (1, 5, 3), (4, 1, 5), (4, 5, 1), (2, 3, 2, 3, 2)]
)
def test_an_activation_has_the_strides_of_its_shape(shape):
    expected = torch.empty(shape).stride()
    for order in itertools.permutations(range(len(shape))):
        x = torch.randn([shape[dim] for dim in order]).permute(*np.argsort(order))
        assert laid_out(x).stride() == expected
        assert torch.equal(laid_out(x), x)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 4, 5), (1, 3, 1, 5)])
def test_a_feature_map_has_the_strides_of_its_shape(shape):
    _, c, h, w = shape
    for order in itertools.permutations(range(4)):
        x = torch.randn([shape[dim] for dim in order]).permute(*np.argsort(order))
        assert laid_out(x).stride() == (c * h * w, 1, w * c, c)
        assert torch.equal(laid_out(x), x)


def test_what_is_laid_out_already_is_not_copied():
    for x in (torch.randn(3, 4, 5), torch.randn(3, 1, 5), torch.randn(3, 4, 1, 1)):
        assert laid_out(x).data_ptr() == x.data_ptr()
    x = torch.randn(3, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    assert laid_out(x) is x
