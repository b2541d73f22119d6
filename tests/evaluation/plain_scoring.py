"""The naive oracle: one candidate at a time, in plain torch, from the images on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.evaluation.scores import Outcomes
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.supernets.chain import batch_norms


@dataclass(frozen=True)
class PlainScore:
    """Correct bits and losses of one candidate, in sample order."""

    correct: np.ndarray
    correct_top5: np.ndarray
    losses: np.ndarray


def as_outcomes(scores: Sequence[PlainScore]) -> Outcomes:
    """The outcomes of candidates on all samples, as workers report them."""
    columns = [[getattr(s, name) for s in scores] for name in ("correct", "correct_top5", "losses")]
    return classified(*map(np.array, columns))


def classified(
    correct: np.ndarray,
    correct_top5: np.ndarray,
    losses: np.ndarray,
    finite: np.ndarray | None = None,
    block_forwards: int = 0,
) -> Outcomes:
    """Outcomes of a classification, `[k, n]` each; all outputs are finite unless said."""
    everything = np.ones(len(losses), bool) if finite is None else finite
    return Outcomes({"top1": correct, "top5": correct_top5}, losses, everything, block_forwards)


@torch.no_grad()
def score_plainly(
    supernet: ChainSupernet,
    architecture: Architecture,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
    layout: torch.memory_format = torch.channels_last,
) -> PlainScore:
    """Copy a candidate out of its supernet, recalibrate it, and run it on every shard.

    Args:
        supernet: left as it is.
        architecture: one choice per block.
        calibration: depth-0 shards; without any, batch-norm statistics are inherited.
        validation: depth-0 shards.
        layout: of images and weights.
    """
    subnet = calibrated_copy(supernet, architecture, calibration, layout)
    correct, top5, losses = [], [], []
    for shard in validation:
        logits = subnet(images(shard, layout))
        labels = torch.tensor(shard.labels)
        order = logits.argsort(dim=1, descending=True, stable=True)
        correct.append(logits.argmax(1) == labels)
        top5.append((order[:, :5] == labels[:, None]).any(1))
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
    return PlainScore(*(torch.cat(parts).numpy() for parts in (correct, top5, losses)))


@torch.no_grad()
def calibrated_copy(
    supernet: ChainSupernet,
    architecture: Architecture,
    calibration: Sequence[Shard],
    layout: torch.memory_format = torch.channels_last,
) -> nn.Sequential:
    """The candidate alone, with means over shards of its batch statistics, summed in float64.

    Of one shard they are the cumulative mean over the calls of a layer, as torch computes it; a
    layer that counts no call keeps the supernet's.
    """
    modules = [copy.deepcopy(module) for module in supernet.subnet(architecture)]
    subnet = nn.Sequential(*modules).to(memory_format=layout).eval()
    norms = [norm for module in modules for norm in batch_norms(module)]
    totals = [np.zeros((2, norm.num_features)) for norm in norms]
    written = [True] * len(norms)
    for shard in calibration:
        for norm in norms:
            norm.train()
            norm.momentum = None
            norm.num_batches_tracked.zero_()
        subnet(images(shard, layout))
        for index, norm in enumerate(norms):
            totals[index] += torch.stack([norm.running_mean, norm.running_var]).numpy()
            written[index] &= bool(norm.num_batches_tracked > 0)
    for norm, total, counted in zip(norms, totals, written, strict=True):
        if calibration and counted:
            mean, variance = torch.from_numpy((total / len(calibration)).astype(np.float32))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    return subnet.eval()


def images(shard: Shard, layout: torch.memory_format = torch.channels_last) -> Tensor:
    """The pixels of a depth-0 shard."""
    return torch.tensor(shard.features).contiguous(memory_format=layout)
