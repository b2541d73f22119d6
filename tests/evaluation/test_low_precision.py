"""Autocast: activations keep their type behind a freeze, and inputs reach the stem as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import raynas
from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.population.evaluator import PopulationEvaluator, Splits
from raynas.shards.shard import Shard, make_shards
from raynas.supernets import ChainSupernet
from raynas.workers.pool import LocalPool

WIDTH, CLASSES = 6, 3


class Scaled(nn.Module):
    """A residual layer scale, whose float32 parameter makes float32 of what autocast computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.rand(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.layer(x)


class Large(Scaled):
    """Float32 beyond the range of float16."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e6 * super().forward(x)


class Residual(nn.Module):
    """Adds to its input, in whatever type that is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(self.norm(x))


class Centred(nn.Module):
    """Takes a large mean off float inputs, in whatever type they are."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 5000.0) / 2.0


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "float32": Scaled,
    "low": lambda: nn.Linear(WIDTH, WIDTH),
    "large": Large,
    "float32 by a norm": lambda: nn.LayerNorm(WIDTH),
}


def supernet_of(make: Callable[[], nn.Module]) -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Centred(), nn.Linear(4, WIDTH))
        blocks = [[make(), Residual()], [Residual(), Scaled()]]
        head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))
        return ChainSupernet(
            stem, blocks, head, inputs=raynas.Inputs((4,), "float32"), num_classes=CLASSES
        ).eval()


def shards(split: str = "validation") -> list[Shard]:
    """Floats around 5000, which low precision tells apart by 16 or 32 only."""
    rng = np.random.default_rng(0)
    values = rng.normal(5000.0, 3.0, (14, 4)).astype(np.float32)
    return make_shards(values, rng.integers(0, CLASSES, 14), split=split, shard_size=7)


def open_evaluator(supernet: ChainSupernet, **options: Any) -> PopulationEvaluator:
    protocol = Evaluation(device="cpu", batch_norm="inherit", **options)
    return PopulationEvaluator(LocalPool(supernet, protocol), Splits([], shards()), protocol, 0)


@torch.no_grad()
def plain_losses(
    supernet: ChainSupernet, architecture: tuple[int, ...], dtype: torch.dtype
) -> np.ndarray:
    """Losses of one forward after another under plain autocast."""
    losses = []
    with torch.autocast("cpu", dtype):
        for shard in shards():
            logits = supernet(torch.tensor(shard.features), architecture).float()
            labels = torch.tensor(shard.labels)
            losses.append(nn.functional.cross_entropy(logits, labels, reduction="none"))
    return torch.cat(losses).numpy()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("block", BLOCKS)
def test_scores_are_those_of_plain_autocast_behind_any_prefix(block: str, precision: str) -> None:
    supernet = supernet_of(BLOCKS[block])
    evaluator = open_evaluator(supernet, precision=precision)
    candidates = [(0, 0), (0, 1), (1, 0), (1, 1)]
    scores = evaluator.score_again(candidates)
    for score in scores:
        plain = plain_losses(supernet, score.architecture, getattr(torch, precision))
        assert score.finite == np.isfinite(plain).all()
        if score.finite:
            assert score.loss == pytest.approx(plain.mean(dtype=float), rel=1e-5)
    assert scores[0].finite
    evaluator.freeze((0,), (0, 0))
    assert evaluator.score_again(candidates[:2]) == scores[:2]
    evaluator.freeze((0, 1), (0, 1))
    assert evaluator.score_again(candidates[1:2]) == scores[1:2]


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
@pytest.mark.parametrize(("block", "stored"), [("float32", "float32"), ("low", "bfloat16")])
def test_shards_know_the_type_of_their_activations(block: str, stored: str, bits: int) -> None:
    supernet = supernet_of(BLOCKS[block])
    protocol = Evaluation(device="cpu", precision="bfloat16", bits=bits)
    evaluator = Evaluator(copy.deepcopy(supernet), protocol)
    advanced, _ = evaluator.advance(shards()[0], (0,), "inherited")
    assert advanced.stored.precision == stored
    assert advanced.stored.select_rows(slice(2)).precision == stored
    again, _ = evaluator.advance(advanced, (0, 1), "inherited")
    assert again.stored.precision == "float32"
