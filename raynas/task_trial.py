"""A trial of a user's task before any long work: what it judges, and that it judges alike twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynas.errors import InputError, describe_error, require
from raynas.task import Classification

if TYPE_CHECKING:
    from torch import Tensor

    from raynas.data.splits import SearchData
    from raynas.supernets.chain import ChainSupernet
    from raynas.task import Task

TRIED = 8
"""Validation samples on which a task of a user is tried."""


def require_task_judges(supernet: ChainSupernet, data: SearchData, task: Task) -> None:
    """See that the task of a user can judge what the supernet gives on a few validation samples.

    Raises:
        InputError: its function raises, gives something else than two numbers for each sample, or
            gives others the second time.
    """
    from raynas.supernets.chain_nodes import examined_copy, on_meta
    from raynas.supernets.node_runs import same_bits
    from raynas.supernets.plain_torch import plain_torch, seed_generators

    if isinstance(task, Classification):
        return
    import torch

    shard = data.validation[0]
    with plain_torch():
        replica = examined_copy(supernet)
        if on_meta(replica):
            return
        first = (0,) * replica.space.blocks
        outputs = replica(torch.tensor(shard.features[:TRIED]), first)

        def judged() -> list[Tensor]:
            return judge_once(task, outputs.clone()[None], torch.tensor(shard.targets[:TRIED]))

        once = judged()
        again = [judged()]
        # Once more from the generators' first state.
        seed_generators()
        again.append(judged())
    require(
        all(
            same_bits(one, another)
            for later in again
            for one, another in zip(once, later, strict=True)
        ),
        "task",
        "the same scores and losses for the same outputs",
        "others the second time",
        "Leave random numbers, and what the function remembers, out of it.",
    )


def judge_once(task: Task, outputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The values and losses of one candidate; what the task's function raises names the task."""
    try:
        values, losses = task.judge(outputs, targets)
    except InputError:
        raise
    # Functions of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            "task",
            f"a function that judges outputs {list(outputs.shape[1:])} of type {outputs.dtype} by "
            f"targets {list(targets.shape)} of type {targets.dtype}",
            describe_error(error),
            "Mend the function, or the targets.",
        ) from error
    return [*values.values(), losses]
