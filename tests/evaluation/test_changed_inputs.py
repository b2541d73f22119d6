"""Modules that change their input, by whatever means, are refused by name: prefixes are shared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from random_chains import CLASSES, random_shards
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.shards.shard import Shard
from raynas.supernets import ChainSupernet, Normalize

Change = Callable[[Tensor], object]


def rebind(x: Tensor) -> None:
    x.data = x.data + 1.0


def through_numpy(x: Tensor) -> None:
    x.detach().numpy()[0] += 1.0


def through_a_view_of_data(x: Tensor) -> None:
    x.data.permute(0, 2, 3, 1)[..., 0].add_(1.0)


def one_value_of_the_last_sample(x: Tensor) -> None:
    x.data[-1, -1, -1, -1] += 1e-3


CHANGES: dict[str, Change] = {
    "in place": lambda x: x.add_(1.0),
    "data": lambda x: x.data.add_(1.0),
    "data of a slice": lambda x: x.data[:, 1:].mul_(2.0),
    "detach": lambda x: x.detach().add_(1.0),
    "a view": lambda x: x.permute(0, 2, 3, 1).mul_(2.0),
    "a view of data": through_a_view_of_data,
    "rebinding data": rebind,
    "an array": through_numpy,
    "one value": one_value_of_the_last_sample,
    "a flip": lambda x: x.data.copy_(x.data.flip(0)),
}


class Changes(nn.Module):
    """Changes its input once it has computed its output, everywhere or under one mode."""

    def __init__(self, change: Change, *, only_training: bool = False) -> None:
        super().__init__()
        self.change, self.only_training = change, only_training
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x) + 1.0
        if self.norm.training or not self.only_training:
            self.change(x)
        return y


def build(changing: nn.Module, choice: int = 1) -> tuple[Evaluator, Shard]:
    """Three blocks; this choice of the second one changes its input."""
    torch.manual_seed(0)
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 3, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    plain = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(4)]
    second = [plain[2], changing][:: 1 if choice else -1]
    blocks = [plain[:2], second, [plain[3], nn.Identity()]]
    supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 5, 4), num_classes=CLASSES)
    shard = random_shards(supernet, "validation", 6, 6, seed=0)[0]
    return Evaluator(supernet.eval(), Evaluation(device="cpu")), shard


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_refused_by_name_in_every_operation(name: str) -> None:
    calls: list[Callable[[Evaluator, Shard], object]] = [
        lambda evaluator, shard: evaluator.calibrate(shard, [(0, 0, 0), (0, 1, 0)]),
        lambda evaluator, shard: evaluator.score(shard, [(0, 0, 0), (0, 1, 0)], "inherited"),
        lambda evaluator, shard: evaluator.advance(shard, (0, 1), "batch"),
        lambda evaluator, shard: evaluator.advance(shard, (0, 1), "inherited"),
    ]
    for call in calls:
        evaluator, shard = build(Changes(CHANGES[name]))
        with pytest.raises(InputError, match="leave their input unchanged") as caught:
            call(evaluator, shard)
        assert caught.value.argument == "blocks[1][1]"


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_under_batch_statistics_only_is_refused(name: str) -> None:
    evaluator, shard = build(Changes(CHANGES[name], only_training=True))
    with pytest.raises(InputError) as caught:
        evaluator.calibrate(shard, [(0, 1, 0)])
    assert caught.value.argument == "blocks[1][1]"


def test_a_node_that_is_met_later_is_looked_at_then() -> None:
    """The module may be the same, and only what comes before it another."""

    class OfNegatives(Changes):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x) + 1.0
            if float(x.min()) < 0:
                x.data.abs_()
            return y

    _, shard = build(nn.Identity())
    positive = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))
    negative = nn.Tanhshrink()
    torch.manual_seed(0)
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 3, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    blocks = [[nn.ReLU(), negative], [positive, OfNegatives(rebind)]]
    supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 5, 4), num_classes=CLASSES)
    evaluator = Evaluator(supernet.eval(), Evaluation(device="cpu"))
    assert evaluator.score(shard, [(0, 0), (0, 1)], "inherited").finite.all()
    with pytest.raises(InputError) as caught:
        evaluator.score(shard, [(0, 1), (1, 1)], "inherited")
    assert caught.value.argument == "blocks[1][1]"


@pytest.mark.parametrize("name", ["in place", "data"])
def test_stems_and_heads_are_named_too(name: str) -> None:
    change = CHANGES[name]

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(x.mean((2, 3)))
            change(x)
            return logits

    class Stem(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.float() / 255
            x.data.fill_(3)
            return y

    first = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 3, 1))
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    for stem, head, expected in ((first, Head(), "head"), (Stem(), last, "stem")):
        supernet = ChainSupernet(
            stem, [[nn.Identity(), nn.ReLU()]], head, image_shape=(3, 5, 4), num_classes=CLASSES
        )
        shard = random_shards(supernet, "validation", 6, 6, seed=0)[0]
        before = shard.features.copy()
        evaluator = Evaluator(supernet.eval(), Evaluation(device="cpu"))
        with pytest.raises(InputError) as caught:
            evaluator.score(shard, [(0,), (1,)], "inherited")
        assert caught.value.argument == expected
        assert (shard.features == before).all()


LARGE = 0.6
"""More than what reaches the second block from dark images, and less than from bright ones."""


class Clips(nn.Module):
    """Clips its input where it is large, which autograd does not see, by a way of its own."""

    def __init__(self, clip: Change) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > LARGE:
            self.clip(x)
        return x + 1.0


CLIPS: dict[str, Change] = {
    "data": lambda x: x.data.clamp_(max=LARGE),
    "an array": lambda x: np.minimum(x.numpy(), LARGE, out=x.numpy()),
    "dlpack": lambda x: torch.from_dlpack(x).clamp_(max=LARGE),
    "set": lambda x: x.data.set_(x.clamp(max=LARGE)),
}


def by_a_hook(clip: Change) -> nn.Module:
    """The same in a hook of a module of torch."""

    def hook(module: nn.Module, given: tuple[Tensor]) -> None:
        if float(given[0].max()) > LARGE:
            clip(given[0])

    module = nn.Identity()
    module.register_forward_pre_hook(hook)
    return module


@pytest.mark.parametrize("way", [Clips, by_a_hook])
@pytest.mark.parametrize("name", CLIPS)
def test_a_change_of_later_batches_only_reaches_no_other_candidate(
    name: str, way: Callable[[Change], nn.Module]
) -> None:
    # Choices run in their order.
    evaluator, shard = build(way(CLIPS[name]), 0)
    pixels = shard.features.copy()
    dark = Shard.build(pixels // 8 + 112, shard.targets, shard.samples, split="validation")
    candidates = [(0, 1, 0), (0, 0, 0), (0, 1, 1), (0, 0, 1)]
    evaluator.score(dark, candidates, "inherited")
    bright = Shard.build(pixels // 8 + 224, shard.targets, shard.samples, split="validation")
    together = evaluator.score(bright, candidates, "inherited").losses
    alone = build(nn.Identity(), 0)[0]
    for losses, candidate in zip(together, candidates, strict=True):
        if candidate[1] == 1:
            np.testing.assert_allclose(
                losses, alone.score(bright, [candidate], "inherited").losses[0], rtol=1e-5
            )
