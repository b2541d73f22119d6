"""How activations are stored: what comes back, and in which layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raynas.evaluation.quantize import FLOAT16_MAX, channels_last, decode, encode

CPU = torch.device("cpu")
SHAPES = st.tuples(*[st.integers(1, 4)] * 4)
FEATURES = arrays.arrays(
    np.float32, SHAPES, elements=st.floats(width=32, allow_nan=True, allow_infinity=True)
)


@given(FEATURES)
def test_32_bits_come_back_as_they_were(features):
    stored = encode(torch.tensor(features), 32)
    assert stored.dtype == np.float32
    assert np.array_equal(decode(stored, CPU).numpy(), features, equal_nan=True)


@given(FEATURES)
def test_16_bits_are_the_nearest_half_within_its_range(features):
    stored = encode(torch.tensor(features), 16)
    assert stored.dtype == np.float16
    back = decode(stored, CPU)
    assert back.dtype == torch.float32
    finite = np.isfinite(features)
    nearest = np.clip(features, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
    assert np.array_equal(stored[finite], nearest[finite])
    assert np.isfinite(back.numpy()[finite]).all()
    assert np.array_equal(back.numpy()[~finite], features[~finite], equal_nan=True)


@given(FEATURES)
def test_storing_again_at_16_bits_loses_nothing_more(features):
    once = encode(torch.tensor(features), 16)
    assert np.array_equal(encode(decode(once, CPU), 16), once, equal_nan=True)


def test_images_stay_as_they_are():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    pixels.flags.writeable = False
    decoded = decode(pixels, CPU)
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.numpy(), pixels)
    decoded.zero_()
    assert pixels.sum() == np.arange(24).sum()


@pytest.mark.parametrize("bits", [32, 16])
def test_channels_are_first_in_the_store_and_last_in_memory(bits):
    features = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    stored = encode(features, bits)
    assert stored.shape == (2, 3, 4, 5)
    assert stored.flags.c_contiguous
    assert decode(stored, CPU).is_contiguous(memory_format=torch.channels_last)


def test_only_feature_maps_change_their_layout():
    flat = torch.randn(3, 4).t()
    assert channels_last(flat) is flat
    assert channels_last(torch.randn(2, 3, 4, 4)).stride() == (48, 1, 12, 3)
