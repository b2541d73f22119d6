"""Batch norms that modules keep in evaluation mode, themselves or others: not recalibrated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from random_chains import CLASSES, random_shards, scramble
from torch import Tensor, nn

import raynas
from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.supernets import ChainSupernet
from raynas.supernets.chain import batch_norms
from raynas.supernets.training_mode import trained_norms

WIDTH = 4


class Block(nn.Module):
    """Two pairs of a convolution and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH))
        self.last = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class FreezesAll(Block):
    """Freezes its batch norms whenever it is trained, as detectors do."""

    def train(self, mode: bool = True) -> FreezesAll:
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self


class FreezesFirst(Block):
    """Never passes the mode on to a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.first.eval()

    def train(self, mode: bool = True) -> FreezesFirst:
        self.training = mode
        self.last.train(mode)
        return self


class Around(nn.Module):
    """A module with one that freezes inside, and a batch norm that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.norm = FreezesAll(), nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.inside(x))


def by_instance() -> nn.Module:
    """A block whose `train` was replaced on the object."""
    block = Block()
    block.first.eval()
    block.train = MethodType(FreezesFirst.train, block)  # type: ignore[method-assign]
    return block


class Frozen(nn.BatchNorm2d):
    """A layer that keeps itself in evaluation mode."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


def by_itself() -> nn.Module:
    block = Block()
    block.last[1] = Frozen(WIDTH)
    return block


class MergesWeights(Block):
    """Computes other weights whenever its mode changes, which rounds."""

    def train(self, mode: bool = True) -> MergesWeights:
        super().train(mode)
        with torch.no_grad():
            self.first[0].weight.mul_(1.1 if mode else 0.9)  # type: ignore[operator,union-attr]
        return self


KINDS: dict[str, tuple[Callable[[], nn.Module], list[bool]]] = {
    "as usual": (Block, [True, True]),
    "all": (FreezesAll, [False, False]),
    "the first": (FreezesFirst, [False, True]),
    "inside": (Around, [False, False, True]),
    "by itself": (by_itself, [True, False]),
    "by instance": (by_instance, [False, True]),
}


def supernet() -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Conv2d(3, WIDTH, 1)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
        blocks = [[make() for make, _ in KINDS.values()]]
        found = ChainSupernet(
            nn.Sequential(raynas.supernets.Normalize((0.5,) * 3, (0.3,) * 3), stem),
            blocks,
            head,
            image_shape=(3, 5, 4),
            num_classes=CLASSES,
        )
        scramble(found)
    return found.eval()


@pytest.mark.parametrize("name", KINDS)
def test_the_norms_that_a_module_trains(name: str) -> None:
    make, expected = KINDS[name]
    module = make().eval()
    found = trained_norms(module)
    assert [any(norm is each for each in found) for norm in batch_norms(module)] == expected
    assert not any(part.training for part in module.modules())


def test_asking_leaves_the_module_as_it_is() -> None:
    module = MergesWeights().eval()
    before = copy.deepcopy(module.state_dict())
    assert len(trained_norms(module)) == 2
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", KINDS)
def test_statistics_are_those_of_a_module_in_training_mode(name: str) -> None:
    searched = supernet()
    raynas.supernets.check_supernet(searched)
    choice = list(KINDS).index(name)
    shard = random_shards(searched, "calibration", 9, 9, seed=1)[0]
    subnet: Any = copy.deepcopy(searched.subnet((choice,)))
    for norm in batch_norms(subnet):
        norm.momentum = None
    subnet.train()
    with torch.no_grad():
        subnet(torch.tensor(shard.features))
    expected = batch_stats.read(batch_norms(subnet), torch.device("cpu")).numpy()
    found = Evaluator(searched, Evaluation(device="cpu")).calibrate(shard, [(choice,)]).statistics
    np.testing.assert_allclose(found[(choice,)], expected, rtol=1e-4, atol=1e-5)
