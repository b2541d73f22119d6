"""Batch-norm statistics as values: how they are recorded, merged and written."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.supernets.chain import batch_norms

VALUES = st.floats(-1e6, 1e6, width=32)
SHARDS = st.integers(1, 6).flatmap(
    lambda count: arrays.arrays(np.float32, (count, 5), elements=VALUES)
)


@given(SHARDS)
def test_merged_statistics_are_the_exact_means_over_shards(vectors):
    merged = batch_stats.merge([{(0,): vector, (1, 2): -vector} for vector in vectors])
    exact = [sum(Fraction(float(v)) for v in column) / len(vectors) for column in vectors.T]
    assert merged.keys() == {(0,), (1, 2)}
    assert merged[(0,)].dtype == np.float32
    np.testing.assert_allclose(merged[(0,)], np.array(exact, dtype=float), rtol=1e-6, atol=1e-9)
    assert np.array_equal(merged[(1, 2)], -merged[(0,)])


def test_sums_are_in_float64_and_in_shard_order():
    large, small = np.float32([1e8]), np.float32([1.0])
    merged = batch_stats.merge([{(): large}, {(): small}, {(): -large}, {(): small}])
    assert merged[()].tolist() == [0.5]
    order = [np.float32([value]) for value in (1e30, 1.0, -1e30)]
    assert batch_stats.merge([{(): v} for v in order])[()].tolist() == [0.0]
    assert batch_stats.merge([{(): order[i]} for i in (0, 2, 1)])[()] == np.float32(1 / 3)


def test_merging_changes_none_of_the_shards():
    shards = [{(): np.float32([1.0, 2.0])}, {(): np.float32([3.0, 4.0])}]
    batch_stats.merge(shards)
    assert [shard[()].tolist() for shard in shards] == [[1.0, 2.0], [3.0, 4.0]]


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(3), nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm2d(1)
    )


def give(norms: Sequence[_BatchNorm], vector: torch.Tensor) -> None:
    """Let layers record in a vector."""
    batch_stats.start_averages(norms)
    sizes = [norm.num_features for norm in norms for _ in range(2)]
    batch_stats.set_buffers(norms, vector.split(sizes))


def test_layers_record_their_batch_in_the_vector_they_were_given():
    module = layers()
    norms = batch_norms(module)
    vector = torch.zeros(8)
    batch_stats.set_calibrating(norms, True)
    give(norms, vector)
    x = torch.randn(4, 3, 5, 5)
    norms[0](x)
    norms[1](x[:, :1])
    mean, variance = x.double().mean((0, 2, 3)), x.double().var((0, 2, 3), unbiased=True)
    expected = torch.cat([mean, variance, mean[:1], variance[:1]])
    torch.testing.assert_close(vector.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(batch_stats.read(norms, torch.device("cpu")), vector)


@pytest.mark.parametrize("calls", [1, 2, 3, 5])
def test_calls_after_one_another_are_averaged_as_torch_averages_them(calls: int):
    norm, plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None)
    vars(norm)["forward"] = batch_stats.AveragedCalls(norm)
    batches = [torch.randn(4, 3, 5, 5) + k for k in range(calls)]
    batch_stats.set_calibrating([norm], True)
    # A first forward of another number of calls leaves no trace.
    give([norm], torch.zeros(6))
    norm(torch.full((2, 3, 2, 2), 9.0))
    vector = torch.full((6,), 7.0)
    give([norm], vector)
    for x in batches:
        assert torch.equal(norm(x), plain(x))
    torch.testing.assert_close(vector, batch_stats.read([plain], torch.device("cpu")))


def test_a_layer_that_does_not_run_keeps_what_it_was_given():
    norms = batch_norms(layers())
    batch_stats.set_calibrating(norms, True)
    vector = torch.full((8,), 7.0)
    give(norms, vector)
    norms[0](torch.randn(4, 3, 5, 5))
    assert vector[6:].tolist() == [7.0, 7.0]
    assert (vector[:6] != 7.0).all()


def test_written_statistics_are_read_back():
    source, target = layers(), layers()
    vector = np.arange(8, dtype=np.float32)
    buffers = [norm.running_mean for norm in batch_norms(target)]
    batch_stats.write(batch_norms(target), vector)
    assert batch_stats.read(batch_norms(target), torch.device("cpu")).tolist() == vector.tolist()
    assert all(norm.running_mean is b for norm, b in zip(batch_norms(target), buffers, strict=True))
    assert batch_stats.read(batch_norms(source), torch.device("cpu")).tolist() == [
        0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0,
    ]  # fmt: skip


def test_modules_without_batch_norm_have_empty_vectors():
    assert batch_stats.read([], torch.device("cpu")).shape == (0,)
