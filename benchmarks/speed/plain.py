"""The SPOS protocol in plain PyTorch, one candidate at a time: a search without raynas.

For each candidate batch-norm statistics are reset, calibrated by forwards in training mode, and the
validation images are classified: in PyTorch's default memory layout, with the images in memory as
tensors. The statistics are cumulative means over the batches (`momentum=None`, as in torch's
`update_bn`), as this library's are. SPOS's own search code keeps an exponential average with
momentum 0.1 instead, in which later batches count more. Under the mean every batch counts the
same, so that the order and the number of batches matter less, and shards can be merged whatever
worker saw them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import raynas
from raynas.population.interface import CandidateEvaluator, Counters
from raynas.score import Score
from raynas.shards.shard import Shard
from raynas.space import Architecture

TOP = 5


@final
class PlainEvaluator(CandidateEvaluator):
    """Scores candidates as a loop over a plain module does.

    Args:
        supernet: trained; it is copied.
        data: its calibration and validation shards are the batches.
        threads: intra-op threads, of the whole process.
        device: of the module and its images.
    """

    prefix: Architecture = ()

    def __init__(
        self,
        supernet: raynas.ChainSupernet,
        data: raynas.data.SearchData,
        threads: int,
        device: str = "cpu",
    ) -> None:
        torch.set_num_threads(threads)
        self._supernet = copy.deepcopy(supernet).to(device)
        self._calibration = [pixels(shard).to(device) for shard in data.calibration]
        self._validation = [
            (pixels(shard).to(device), torch.tensor(shard.targets).to(device))
            for shard in data.validation
        ]
        self._samples = sum(len(labels) for _, labels in self._validation)
        self._block_forwards = 0

    @property
    def counters(self) -> Counters:
        """The samples of a score, and the blocks executed."""
        return Counters(samples=self._samples, block_forwards=self._block_forwards)

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Score candidates one after the other; nothing is ever reused."""
        return [self._score(architecture) for architecture in architectures]

    @torch.inference_mode()
    def _score(self, architecture: Architecture) -> Score:
        subnet = nn.Sequential(*self._supernet.subnet(architecture))
        calibrate(subnet, self._calibration)
        logits = [subnet(images) for images, _ in self._validation]
        labels = [labels for _, labels in self._validation]
        calibrated = sum(len(images) for images in self._calibration)
        self._block_forwards += (calibrated + self._samples) * len(architecture)
        return judge(architecture, torch.cat(logits), torch.cat(labels))


def calibrate(subnet: nn.Module, batches: Sequence[Tensor]) -> None:
    """Reset batch-norm statistics and take their means over batches; leaves evaluation mode."""
    for module in subnet.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    subnet.train()
    for images in batches:
        subnet(images)
    subnet.eval()


def judge(architecture: Architecture, logits: Tensor, labels: Tensor) -> Score:
    """Hits and loss of all samples."""
    best = logits.topk(TOP, dim=1).indices == labels[:, None]
    correct, samples = int(best[:, 0].sum()), len(labels)
    return Score(
        architecture,
        {"top1": correct / samples, "top5": float(best.any(1).float().mean())},
        float(F.cross_entropy(logits, labels)),
        bool(logits.isfinite().all()),
        samples,
        correct,
    )


def pixels(shard: Shard) -> Tensor:
    """The images of a depth-0 shard in the default layout."""
    return torch.tensor(shard.features).contiguous()
