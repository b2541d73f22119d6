"""Shards that do not fit in memory: scored and advanced in smaller batches, or refused by name."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_chains import CLASSES, random_shards
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.device.memory import halve_until_it_fits, is_out_of_memory
from raynas.evaluation.evaluator import Evaluator
from raynas.shards.shard import Shard, gather
from raynas.supernets import ChainSupernet, Normalize

CPU_ALLOCATOR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 802816 bytes. Error code 12 (Cannot allocate memory)"
)
EXHAUSTED = [torch.OutOfMemoryError("CUDA out of memory."), CPU_ALLOCATOR, MemoryError()]


class Small(nn.Module):
    """A layer with memory for batches of some size only."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__()
        self.room, self.error = room, error
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.room:
            raise self.error
        return x * 1.0


def build(room: int, error: Exception = EXHAUSTED[0], **options) -> tuple[Evaluator, Small]:
    """An evaluator of two blocks, the first of which has a choice that is small."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 4, 3))
        second = [nn.Sequential(nn.Conv2d(4, 4, k), nn.BatchNorm2d(4)) for k in (1, 1)]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    small = Small(99, error)
    blocks = [[nn.Identity(), small], second]
    supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 6, 6), num_classes=CLASSES)
    evaluator = Evaluator(supernet, Evaluation(device="cpu", **options))
    # A worker tries modules of a user's own once before it evaluates anything.
    small.room = room
    small.batches.clear()
    return evaluator, small


def shard(split: str = "validation", rows: int = 11) -> Shard:
    return random_shards(build(99)[0].supernet, split, rows, rows, seed=1)[0]


CANDIDATES = [(0, 0), (1, 0), (1, 1), (1, 0)]


@pytest.mark.parametrize("error", EXHAUSTED, ids=["device", "host", "python"])
@pytest.mark.parametrize("room", [10, 5, 2, 1])
def test_scores_in_smaller_batches_are_those_of_the_whole_shard(room: int, error: Exception):
    evaluator, small = build(room, error)
    found = evaluator.score(shard(), CANDIDATES, "inherited")
    whole = build(11)[0].score(shard(), CANDIDATES, "inherited")
    assert all(np.array_equal(found.values[name], whole.values[name]) for name in whole.values)
    np.testing.assert_allclose(found.losses, whole.losses, rtol=1e-5, atol=1e-6)
    assert found.finite.tolist() == whole.finite.tolist() == [True] * 4
    assert found.block_forwards == whole.block_forwards == 11 * 5
    fits = {10: 6, 5: 3, 2: 2, 1: 1}[room]
    assert small.batches[:2] == [11, 6]
    assert small.batches[-1] in (fits, 11 % fits)
    assert (found.halvings, whole.halvings) == ({6: 1, 3: 2, 2: 3, 1: 4}[fits], 0)


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_a_shard_that_is_advanced_in_batches_is_stored_as_a_whole(bits: int):
    rows, weights = np.array([0, 2, 3, 5, 8, 9, 10]), np.linspace(1.0, 2.0, 7)
    arguments = (gather([shard()], [rows], weights), (1, 1), "inherited")
    found, statistics = build(3, bits=bits)[0].advance(*arguments)
    whole, expected = build(11, bits=bits)[0].advance(*arguments)
    assert (statistics.halvings, expected.halvings) == (2, 0)
    assert statistics.block_forwards == expected.block_forwards == 2 * 7
    assert found.stored.quantization == whole.stored.quantization
    assert found.samples.tolist() == whole.samples.tolist()
    if bits >= 16:
        np.testing.assert_allclose(found.features, whole.features, rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_allclose(found.stored.channels, whole.stored.channels, rtol=1e-4)
        assert np.mean(found.features != whole.features) < 0.05


def test_calibration_shards_are_not_divided():
    evaluator, small = build(5)
    calls = [
        lambda: evaluator.calibrate(shard("calibration"), CANDIDATES),
        lambda: evaluator.advance(shard("calibration"), (1,), "batch"),
    ]
    for call in calls:
        with pytest.raises(InputError, match="with 11 images: CUDA out of memory") as caught:
            call()
        assert caught.value.argument == "shard_size"
        assert "smaller shard_size" in caught.value.remedy
    assert small.batches == [11, 11]
    assert evaluator.calibrate(shard("calibration", 5), CANDIDATES).halvings == 0


def test_memory_for_not_even_one_sample_is_an_error_that_says_so():
    evaluator, small = build(0)
    with pytest.raises(InputError, match="one image at a time") as caught:
        evaluator.score(shard(), CANDIDATES, "inherited")
    assert caught.value.argument == "device"
    assert small.batches == [11, 6, 3, 2, 1]
    assert evaluator.score(shard(), CANDIDATES[:1], "inherited").halvings == 0


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), KeyError("x")])
def test_other_errors_are_not_tried_again(error: Exception):
    assert not is_out_of_memory(error)
    evaluator, small = build(5, error)
    with pytest.raises(type(error)):
        evaluator.score(shard(), CANDIDATES, "inherited")
    with pytest.raises(type(error)):
        evaluator.calibrate(shard(), CANDIDATES)
    assert small.batches == [11, 11]


def test_the_allocators_own_errors_are_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as refused:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(refused.value)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_first_half_that_fits_is_taken(rows: int, room: int):
    tried = []

    def attempt(size: int) -> int:
        tried.append(size)
        if size > room:
            raise MemoryError
        return size

    size, halvings = halve_until_it_fits(rows, attempt)
    assert tried[0] == rows
    assert all(after == -(-before // 2) for before, after in pairwise(tried))
    assert tried[-1] == size <= room
    assert halvings == len(tried) - 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_device_out_of_memory_scores_in_halves_and_refuses_to_calibrate():
    convs = [[nn.Sequential(nn.Conv2d(3, 64, k, padding=k // 2), nn.BatchNorm2d(64))] for k in (1,)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))
    supernet = ChainSupernet(
        Normalize((0.5,) * 3, (0.3,) * 3), convs, head, image_shape=(3, 64, 64), num_classes=CLASSES
    )
    (large,) = random_shards(supernet, "validation", 256, 256, seed=1)
    evaluator = Evaluator(supernet, Evaluation(device="cuda"))
    whole = evaluator.score(large, [(0,)], "inherited")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**28 / total)  # One activation takes as much.
    try:
        for _ in range(3):
            halved = evaluator.score(large, [(0,)], "inherited")
            assert halved.halvings > 0
            assert np.array_equal(halved.first, whole.first)
        with pytest.raises(InputError, match="shard_size"):
            evaluator.calibrate(large, [(0,)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert evaluator.score(large, [(0,)], "inherited").halvings == 0
