"""Outcomes from the outputs of a forest of candidates, judged many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from raynas.evaluation.trie import Node, walk
from raynas.supernets.chain import NodePath
from raynas.task import Task

Judged = tuple[Tensor, ...]
"""The values of each objective and the losses, `[k, n]`, of k candidates, and last whether the
outputs of each are finite, `[k]`."""

TOGETHER = 2**22
"""Values of outputs that are kept until they are judged: 16 MB, and a few copies of them."""


def judge(task: Task, outputs: Tensor, targets: Tensor) -> Judged:
    """Judge the outputs `[k, n, …]` of k candidates on n samples."""
    values, losses = task.judge(outputs, targets)
    if outputs.is_floating_point():
        finite = torch.isfinite(outputs).flatten(1).all(1)
    else:
        finite = torch.ones(len(outputs), dtype=torch.bool, device=outputs.device)
    for column in (*values.values(), losses):
        if column.is_floating_point():
            finite = finite & torch.isfinite(column).all(1)
    return (*(values[name] for name in task.objectives), losses, finite)


def judge_forest(
    forest: Sequence[Node],
    x: Tensor,
    targets: Tensor,
    run: Callable[[NodePath, Tensor], Tensor],
    task: Task,
) -> Judged:
    """Walk a forest with one batch, and judge every candidate; many at once, as it is little."""
    outcomes: dict[int, Judged] = {}
    waiting: list[tuple[Node, Tensor]] = []

    def judge_waiting() -> None:
        columns = judge(task, torch.stack([outputs for _, outputs in waiting]), targets)
        for place, (node, _) in enumerate(waiting):
            outcome = tuple(column[place] for column in columns)
            outcomes.update(dict.fromkeys(node.candidates, outcome))
        waiting.clear()

    def finish(node: Node, outputs: Tensor) -> None:
        waiting.append((node, outputs))
        if len(waiting) * outputs.numel() >= TOGETHER:
            judge_waiting()

    walk(forest, x, run, finish)
    if waiting:
        judge_waiting()
    rows = zip(*(outcomes[index] for index in sorted(outcomes)), strict=True)
    return tuple(torch.stack(row) for row in rows)


def join_batches(batches: Sequence[Judged]) -> list[np.ndarray]:
    """Join the outcomes of k candidates on consecutive batches, on the host."""
    *samples, finite = zip(*batches, strict=True)
    joined = [torch.cat(parts, dim=1) for parts in samples]
    return [part.cpu().numpy() for part in (*joined, torch.stack(finite).all(0))]
