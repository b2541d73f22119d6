"""Chains around a real block, and what plain PyTorch says of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from random_chains import scramble
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import raynas
from raynas.evaluation import Evaluation
from raynas.population.evaluator import PopulationEvaluator, Splits
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.workers.pool import LocalPool

CLASSES, WIDTH = 4, 16
IMAGE, TOKENS, VOCABULARY = (3, 8, 8), 12, 20

Make = Callable[[], nn.Module]
"""Builds a block of 16 channels at 8 × 8 pixels, or of 16 features at 12 tokens."""


class Embed(nn.Module):
    """Token ids to vectors with their places."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.randn(TOKENS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x) + self.places


class TokenHead(nn.Module):
    """The class of the mean over tokens."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x).mean(1))


def image_stem() -> nn.Module:
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return nn.Sequential(normalize, nn.Conv2d(3, WIDTH, 3, 1, 1), nn.BatchNorm2d(WIDTH))


def image_head(width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))


def ordinary(x: Tensor, y: Tensor) -> nn.Module:
    """A plain choice with batch norm that maps the shape of `x` to that of `y`."""
    if x.dim() == 3:
        return nn.Sequential(nn.LayerNorm(x.shape[2]), nn.Linear(x.shape[2], y.shape[2]), nn.GELU())
    stride = x.shape[2] // y.shape[2]
    return nn.Sequential(
        nn.Conv2d(x.shape[1], y.shape[1], 3, stride, 1, bias=False),
        nn.BatchNorm2d(y.shape[1], momentum=None),
        nn.ReLU(inplace=True),
    )


def chain_of(make: Make, *, tokens: bool = False, outputs: int = CLASSES) -> ChainSupernet:
    """A block against an ordinary one, twice if it keeps its shape, with random weights.

    Args:
        make: builds the block.
        tokens: the chain is one of token sequences.
        outputs: of the head; a single one is that of a regression.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        stem, block = stem_of(tokens), make().eval()
        x = stem(torch.tensor(inputs_of(tokens).examples(2)))
        y = block(x.clone())
        second = make() if y.shape == x.shape else ordinary(y, y)
        blocks = [[block, ordinary(x, y)], [ordinary(y, y), second]]
        return assemble(stem, blocks, y.shape[2 if tokens else 1], outputs)


def chain_of_choices(
    blocks: Sequence[Sequence[Make]], *, tokens: bool = False, scrambling: bool = True
) -> ChainSupernet:
    """Blocks of many choices that keep their shape, with random weights.

    Args:
        blocks: what builds the choices of each block.
        tokens: the chain is one of token sequences.
        scrambling: also draw statistics and what modules set to constants.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = [[make() for make in choices] for choices in blocks]
        return assemble(stem_of(tokens), modules, WIDTH, CLASSES, scrambling)


def assemble(
    stem: nn.Module,
    blocks: Sequence[Sequence[nn.Module]],
    width: int,
    outputs: int,
    scrambling: bool = True,
) -> ChainSupernet:
    """A supernet in evaluation mode behind a stem of either kind."""
    tokens = isinstance(stem, Embed)
    head = (TokenHead if tokens else image_head)(width, outputs)
    classes = outputs if outputs > 1 else None
    supernet = ChainSupernet(stem, blocks, head, inputs=inputs_of(tokens), num_classes=classes)
    if scrambling:
        scramble(supernet)
    return supernet.eval()


def inputs_of(tokens: bool) -> raynas.Inputs:
    if tokens:
        return raynas.Inputs((TOKENS,), "int64", vocabulary=VOCABULARY)
    return raynas.Inputs(IMAGE)


def stem_of(tokens: bool) -> nn.Module:
    return Embed() if tokens else image_stem()


def noise(supernet: ChainSupernet, split: str, samples: int, seed: int) -> list[Shard]:
    """Shards of up to 8 random samples, with labels or numbers."""
    rng = np.random.default_rng(seed)
    inputs = supernet.inputs
    high = inputs.vocabulary or 256
    values = rng.integers(0, high, (samples, *inputs.shape)).astype(inputs.dtype)
    targets = rng.integers(0, CLASSES, samples)
    if supernet.num_classes is None:
        targets = rng.normal(size=samples).astype(np.float32)
    return make_shards(values, targets, split=split, shard_size=8)


def open_evaluator(
    supernet: ChainSupernet,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
    task: raynas.Task | None = None,
    **options: Any,
) -> PopulationEvaluator:
    """An evaluator in this process; options of the protocol."""
    protocol = Evaluation(device="cpu", **options)
    pool = LocalPool(supernet, protocol, task=task)
    return PopulationEvaluator(pool, Splits(calibration, validation), protocol, 0)


@dataclass(frozen=True)
class Plain:
    """Outcomes of a plain loop over all samples.

    Args:
        score: the mean score: of labels, the share that is right.
        loss: the mean loss.
        correct: how many labels are right, or scores are 1.
    """

    score: float
    loss: float
    correct: int


def hits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether labels have the largest logit, and cross-entropies."""
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    return (logits.argmax(1) == labels).float(), losses


@torch.no_grad()
def plain_loop(
    supernet: ChainSupernet,
    architecture: Architecture,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
    judge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = hits,
) -> Plain:
    """One architecture alone, recalibrated as `torch.optim.swa_utils.update_bn` does it.

    But that only batch norms are in training mode, and stochastic depth, say, is not.

    Args:
        supernet: left as it is.
        architecture: one choice per block.
        calibration: none if statistics are inherited.
        validation: to be scored.
        judge: gives a score and a loss for each sample.
    """
    subnet = copy.deepcopy(supernet.subnet(architecture)).eval()
    norms = [
        m for m in subnet.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]
    for norm in norms if calibration else ():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for shard in calibration:
        subnet(torch.tensor(shard.features))
    subnet.eval()
    outputs = torch.cat([subnet(torch.tensor(shard.features)) for shard in validation])
    targets = torch.cat([torch.tensor(shard.targets) for shard in validation])
    scores, losses = (each.double() for each in judge(outputs, targets))
    return Plain(float(scores.mean()), float(losses.mean()), int((scores == 1).sum()))
