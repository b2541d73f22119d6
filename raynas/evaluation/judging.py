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
"""Top-1 bits, top-5 bits and losses `[n]` of one candidate, and whether its logits are finite; or
the same of k candidates, `[k, n]` and `[k]`."""


def judge(logits: Tensor, labels: Tensor) -> Outcome:
    """Top-1 bits, top-5 bits and losses of each sample, and whether all logits are finite."""
    logits = logits.to(torch.float32)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    losses = F.cross_entropy(logits, labels, reduction="none")
    return hits[:, 0], hits.any(1), losses, torch.isfinite(logits).all()


def judge_forest(
    forest: Sequence[Node], x: Tensor, labels: Tensor, run: Callable[[Path, Tensor], Tensor]
) -> Outcome:
    """Walk a forest with one batch, and judge every candidate."""
    results: dict[int, Outcome] = {}

    def finish(node: Node, logits: Tensor) -> None:
        results.update(dict.fromkeys(node.candidates, judge(logits, labels)))

    walk(forest, x, run, finish)
    columns = zip(*(results[index] for index in sorted(results)), strict=True)
    correct, top5, losses, finite = (torch.stack(column) for column in columns)
    return correct, top5, losses, finite


def join_batches(batches: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Outcomes of k candidates on consecutive batches as those of one, on the host."""
    *samples, finite = zip(*batches, strict=True)
    joined = [torch.cat(parts, dim=1) for parts in samples]
    return [part.cpu().numpy() for part in (*joined, torch.stack(finite).all(0))]
