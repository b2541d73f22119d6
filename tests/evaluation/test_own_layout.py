"""Modules that channels-last would break run in their own layout, and score as plain torch does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_scoring import score_plainly
from random_chains import CLASSES, Scene, random_shards, scramble
from torch import Tensor, nn
from torch.nn import functional

from raynas.evaluation import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.layout import own_layouts
from raynas.workers.pool import LocalPool

C, SIZE = 4, 6


class Views(nn.Module):
    """Mixes the values of a sample in the order in which they lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(C * SIZE * SIZE, C * SIZE * SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.view(len(x), -1)).view(x.shape)


class Strides(nn.Module):
    """Reads its input by strides of its own, without an error in any layout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        turned = torch.as_strided(x, (n, c, w, h), (c * h * w, h * w, 1, w))
        return self.norm(x + 0.5 * turned)


class AsksForStrides(nn.Module):
    """Computes something else for another layout."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 if x.stride(1) == 1 else 2.0)


class WeightsInOrder(nn.Module):
    """Reads its weights in the order in which they lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.norm = nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        flat = torch.as_strided(weight, (weight.numel(),), (1,))
        return self.norm(functional.conv2d(x, flat.view(weight.shape), padding=1))


class WeightsViewed(WeightsInOrder):
    """Views its weights as a matrix."""

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.conv.weight.view(C, C * 9)
        return self.norm(functional.conv2d(x, matrix[:, :C].view(C, C, 1, 1)))


class Plain(nn.Module):
    """A user's own module that takes any layout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(C, C, 3, padding=1, groups=C), nn.BatchNorm2d(C))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Orders(nn.Module):
    """Reads its input in the order of memory, by code that torch can trace and script."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * torch.as_strided(x, (x.shape[0], 4, 36), (144, 1, 4)).reshape(x.shape)


def hooked() -> nn.Module:
    """A module of torch with code of a user before it."""
    module = nn.Conv2d(C, C, 1)
    module.register_forward_pre_hook(lambda module, given: (Orders()(given[0]),))
    return module


def graph() -> nn.Module:
    """Code of a user as a module of torch.fx."""
    return torch.fx.symbolic_trace(Orders())


def scripted() -> nn.Module:
    """Code of a user as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Orders())


KINDS: tuple[Callable[[], nn.Module], ...] = (
    Plain,
    Views,
    Strides,
    AsksForStrides,
    WeightsInOrder,
    WeightsViewed,
    hooked,
    graph,
    scripted,
)


class ViewingHead(nn.Module):
    """Flattens by `view`, as much code does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(C * SIZE * SIZE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.view(x.size(0), -1))


def supernet_of(*kinds: Callable[[], nn.Module], blocks: int = 2) -> ChainSupernet:
    """Blocks with a choice of every kind, under a head that views."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, C, 3, padding=1))
        chain = [[kind() for kind in kinds] for _ in range(blocks)]
        supernet = ChainSupernet(
            stem, chain, ViewingHead(), image_shape=(3, SIZE, SIZE), num_classes=CLASSES
        )
        scramble(supernet)
    return supernet.eval()


def scene_of(supernet: ChainSupernet) -> Scene:
    splits = ("calibration", "validation")
    return Scene(supernet, *(random_shards(supernet, s, 14, 7, seed=1) for s in splits), 0)


@pytest.mark.parametrize(
    "options",
    [{}, {"fold_batch_norm": True}, {"batch_norm": "inherit"}],
    ids=["recalibrated", "folded", "inherited"],
)
def test_scores_are_those_of_plain_torch_behind_any_prefix(options: dict[str, Any]) -> None:
    scene = scene_of(supernet_of(*KINDS))
    count = len(KINDS)
    candidates: list[Architecture] = [(k, j) for k in range(count) for j in (k, (k + 1) % count)]
    calibration = [] if options.get("batch_norm") == "inherit" else scene.calibration
    plain = {
        a: score_plainly(
            scene.supernet, a, calibration, scene.validation, torch.contiguous_format
        ).losses.mean(dtype=float)
        for a in candidates
    }
    protocol = Evaluation(device="cpu", **options)
    for choice in range(count):
        pool = LocalPool(scene.supernet, protocol)
        splits = Splits(scene.calibration, scene.validation)
        evaluator = PopulationEvaluator(pool, splits, protocol, 0)
        behind = [a for a in candidates if a[0] == choice]
        for depth in (0, 1, 2):
            if depth:
                evaluator.freeze(behind[0][:depth], behind[0])
            for score in evaluator.score_again(behind[: 1 if depth == 2 else None]):
                assert score.loss == pytest.approx(plain[score.architecture], rel=2e-4)


def test_only_modules_that_need_it_keep_their_layout() -> None:
    supernet = supernet_of(*KINDS)
    before = [weight.stride() for weight in supernet.parameters()]
    found = own_layouts(supernet, torch.device("cpu"))
    expected = {(depth, k) for depth in (1, 2) for k in range(1, len(KINDS))} | {(3, 0)}
    assert found == expected
    assert [weight.stride() for weight in supernet.parameters()] == before
    assert own_layouts(scene_of(supernet_of(Plain)).supernet, torch.device("cpu")) == {(2 + 1, 0)}
