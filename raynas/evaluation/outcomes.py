"""What logits say of candidates: hits, losses, and whether they are numbers at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.evaluation.trie import Node, walk
from raynas.supernets.chain import Path

Outcome = tuple[Tensor, Tensor, Tensor, Tensor]
"""Top-1 bits, top-5 bits and losses `[k, n]` of k candidates, and whether the logits of each are
finite, `[k]`."""

TOGETHER = 2**22
"""Logits that are kept until they are judged: 16 MB, and a few copies of them."""


def judge(logits: Tensor, labels: Tensor) -> Outcome:
    """What the logits `[k, n, classes]` of k candidates say of n samples."""
    logits = logits.to(torch.float32)
    candidates, samples, classes = logits.shape
    best = logits.topk(min(5, classes), dim=2).indices
    hits = best == labels[:, None]
    targets = labels.expand(candidates, samples).reshape(-1)
    losses = F.cross_entropy(logits.reshape(-1, classes), targets, reduction="none")
    finite = torch.isfinite(logits).flatten(1).all(1)
    return hits[:, :, 0], hits.any(2), losses.view(candidates, samples), finite


def judge_forest(
    forest: Sequence[Node], x: Tensor, labels: Tensor, run: Callable[[Path, Tensor], Tensor]
) -> Outcome:
    """Walk a forest with one batch, and judge every candidate; many at once, as it is little."""
    outcomes: dict[int, tuple[Tensor, ...]] = {}
    waiting: list[tuple[Node, Tensor]] = []

    def settle() -> None:
        columns = judge(torch.stack([logits for _, logits in waiting]), labels)
        for place, (node, _) in enumerate(waiting):
            outcome = tuple(column[place] for column in columns)
            outcomes.update(dict.fromkeys(node.candidates, outcome))
        waiting.clear()

    def finish(node: Node, logits: Tensor) -> None:
        waiting.append((node, logits))
        if len(waiting) * logits.numel() >= TOGETHER:
            settle()

    walk(forest, x, run, finish)
    if waiting:
        settle()
    rows = zip(*(outcomes[index] for index in sorted(outcomes)), strict=True)
    correct, top5, losses, finite = (torch.stack(row) for row in rows)
    return correct, top5, losses, finite


def join_batches(batches: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Outcomes of k candidates on consecutive batches as those of one, on the host."""
    *samples, finite = zip(*batches, strict=True)
    joined = [torch.cat(parts, dim=1) for parts in samples]
    return [part.cpu().numpy() for part in (*joined, torch.stack(finite).all(0))]
