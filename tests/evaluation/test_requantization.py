"""The error of stored activations, freeze by freeze, on a small network."""

from __future__ import annotations

import pickle

import pytest
import torch
from random_chains import random_shards

from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.requantization import relative_error, storage_errors
from raynas.shards.shard import Shard
from raynas.supernets import ChainSupernet, spos_8x8

DEPTHS = (1, 3, 5, 8)


@pytest.fixture(scope="module")
def supernet() -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spos_8x8().eval()


@pytest.fixture(scope="module")
def shard(supernet: ChainSupernet) -> Shard:
    return random_shards(supernet, "calibration", 40, 40, seed=1)[0]


def errors(supernet: ChainSupernet, shard: Shard, bits: int):
    prefix = (0, 1, 2, 3) * 2
    protocol = Evaluation(bits=bits, device="cpu")
    return storage_errors(supernet, shard, prefix, DEPTHS, protocol, "batch")


def test_float32_has_none(supernet: ChainSupernet, shard: Shard):
    assert [(e.direct, e.progressive) for e in errors(supernet, shard, 32)] == [(0.0, 0.0)] * 4


@pytest.mark.parametrize(("bits", "limit"), [(16, 1e-3), (8, 0.02), (4, 0.25)])
def test_storing_anew_adds_to_the_error_but_not_without_bounds(supernet, shard, bits, limit):
    found = errors(supernet, shard, bits)
    assert [error.depth for error in found] == list(DEPTHS)
    assert found[0].direct == found[0].progressive
    for error in found[1:]:
        assert 0.0 < error.direct < error.progressive < 4 * len(DEPTHS) * error.direct
        assert error.direct < limit


def test_errors_are_ratios_of_norms(supernet: ChainSupernet, shard: Shard):
    twice = Shard.build(shard.features // 2 * 2, shard.labels, shard.samples, split="validation")
    half = Shard.build(shard.features // 2, shard.labels, shard.samples, split="validation")
    assert relative_error(half, twice) == pytest.approx(0.5)
    assert relative_error(twice, twice) == 0.0


def test_a_shard_takes_its_share_of_the_bytes(supernet: ChainSupernet, shard: Shard):
    sizes = {}
    for bits in (32, 16, 8, 4):
        evaluator = Evaluator(supernet, Evaluation(bits=bits, device="cpu"))
        advanced, _ = evaluator.advance(shard, (0, 0), "batch")
        buffers: list[pickle.PickleBuffer] = []
        rest = pickle.dumps(advanced, protocol=5, buffer_callback=buffers.append)
        sizes[bits] = len(rest) + sum(buffer.raw().nbytes for buffer in buffers)
    assert sizes[32] > 40 * 32 * 8 * 8 * 4
    for bits, size in sizes.items():
        assert size / sizes[32] == pytest.approx(bits / 32, rel=0.1)
