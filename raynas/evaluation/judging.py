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
    """Walk a forest with one batch, and judge every candidate; all at once, as logits are small."""
    logits: dict[int, Tensor] = {}

    def finish(node: Node, found: Tensor) -> None:
        logits.update(dict.fromkeys(node.candidates, found))

    walk(forest, x, run, finish)
    return judge(torch.stack([logits[index] for index in sorted(logits)]), labels)


def join_batches(batches: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Outcomes of k candidates on consecutive batches as those of one, on the host."""
    *samples, finite = zip(*batches, strict=True)
    joined = [torch.cat(parts, dim=1) for parts in samples]
    return [part.cpu().numpy() for part in (*joined, torch.stack(finite).all(0))]
