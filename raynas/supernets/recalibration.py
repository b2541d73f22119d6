"""Whether batch norm can be recalibrated batch by batch, in any order and on any worker.

The statistics of a candidate are means over batches, each normalised by itself. A module that reads
running statistics or a counter of batches while it is calibrated gives something else after every
batch, so that plain recalibration, too, would depend on the order of the batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.errors import InputError, require
from raynas.supernets.chain import batch_norms
from raynas.supernets.chain_nodes import (
    ChainNode,
    chain_nodes,
    examined_copy,
    example_batch,
    on_meta,
)
from raynas.supernets.checks import require_own_norms
from raynas.supernets.node_runs import run_node, run_seeded, same_bits
from raynas.supernets.plain_torch import plain_torch
from raynas.supernets.training_mode import trained_norms

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

SAMPLES = 8
"""Examples that are run; layers may divide their batch."""

MANY = 1_000_000
"""Batches that a layer is made to believe it has seen."""

logger = logging.getLogger("raynas")

INHERIT = "or evaluate with batch_norm='inherit'."


@final
@dataclass(frozen=True)
class Trial:
    """One run of a module under the batch's statistics.

    Args:
        output: of the module.
        recorded: mean and variance of each layer by turns.
    """

    output: Tensor
    recorded: list[Tensor]


def warn_unless(recalibrates: Callable[[], None]) -> None:
    """Say before a training what a search would refuse after it, unless statistics are inherited.

    Args:
        recalibrates: raises `InputError` for what cannot be recalibrated.
    """
    try:
        recalibrates()
    except InputError as error:
        logger.warning(
            "once this supernet is trained, a search of it needs batch_norm='inherit' "
            "(--batch-norm inherit), since recalibration is refused: %s",
            error,
        )


def require_recalibratable(supernet: ChainSupernet) -> None:
    """See that every batch norm can be calibrated on one batch at a time; changes nothing.

    Raises:
        InputError: a layer or buffers that two blocks or layers share, or a module whose output
            or recorded statistics depend on the batches before, by block and choice.
    """
    require_own_norms(supernet)
    require_own_buffers(supernet)
    with plain_torch():
        replica = examined_copy(supernet)
        if on_meta(replica) or not batch_norms(replica):
            return
        x = example_batch(replica, SAMPLES)
        for _, nodes in groupby(chain_nodes(replica), key=lambda node: node.depth):
            here = list(nodes)
            for node in here:
                if batch_norms(node.module):
                    require_statistics_of_batch(node, x)
            x = run_node(here[0], x.clone()).contiguous()


def require_own_buffers(supernet: ChainSupernet) -> None:
    """See that no two layers keep their statistics in one tensor.

    Raises:
        InputError: two that do, by the block and choice of the later one.
    """
    layers: dict[int, _BatchNorm] = {}
    for node in chain_nodes(supernet):
        for norm in batch_norms(node.module):
            first = layers.setdefault(id(norm.running_mean), norm)
            require(
                first is norm,
                node.name,
                "batch norms with statistics of their own",
                "two with one running_mean",
                "Give each layer its buffers; weight and bias may be shared.",
            )


def require_statistics_of_batch(node: ChainNode, x: Tensor) -> None:
    """See that what a module computes and records under batch statistics is of the batch alone.

    Raises:
        InputError: it depends on statistics or counters that were there before.
    """
    norms = batch_norms(node.module)
    own = [
        t.detach().clone() for n in norms for t in (n.running_mean, n.running_var) if t is not None
    ]
    counting = runs_counting(node, x, own)
    first = attempt(node, x, own, None if counting else 1.0)
    written = [not same_bits(now, before) for now, before in zip(first.recorded, own, strict=True)]
    moved = [2.0 * t + 1.0 if changed else t for t, changed in zip(own, written, strict=True)]
    shifted = attempt(node, x, moved, None if counting else 1.0)
    later = attempt(node, x, moved, None if counting else 0.5, count=3)
    if not (same_bits(shifted.output, first.output) and same_bits(later.output, first.output)):
        raise InputError(
            node.name,
            "batch norms that normalise each calibration batch by itself",
            "a module that reads running statistics or the number of batches meanwhile",
            "Read them in evaluation mode only (not norm.training), " + INHERIT,
        )
    for now, then in zip(first.recorded, shifted.recorded, strict=True):
        require(
            torch.allclose(now, then, rtol=1e-3, atol=1e-4, equal_nan=True),
            node.name,
            "batch norms that follow their momentum when they record statistics",
            "one that averages with the statistics before by a number of its own",
            "Give F.batch_norm the momentum of the layer (1 / num_batches_tracked where it is "
            "None), " + INHERIT,
        )
    require_no_counting(node, x)


def runs_counting(node: ChainNode, x: Tensor, own: Sequence[Tensor]) -> bool:
    """Whether a module runs with `momentum=None`, as torch's recalibration sets it."""
    try:
        attempt(node, x, own, None)
    except InputError:
        return False
    return True


def require_no_counting(node: ChainNode, x: Tensor) -> None:
    """Raise `InputError` if the output in evaluation mode depends on a counter of batches."""
    norms = batch_norms(node.module)
    outputs = []
    for count in (0, MANY):
        before = [set_counter(norm, count) for norm in norms]
        outputs.append(run_seeded(node, x.clone()))
        for norm, counter in zip(norms, before, strict=True):
            norm._buffers["num_batches_tracked"] = counter
    require(
        same_bits(outputs[0], outputs[1]),
        node.name,
        "an output that does not depend on how many batches were calibrated on",
        "one that reads num_batches_tracked",
        "Keep a switch of your own in a buffer, " + INHERIT,
    )


def attempt(
    node: ChainNode, x: Tensor, moments: Sequence[Tensor], momentum: float | None, count: int = 0
) -> Trial:
    """Run a module under batch statistics; its layers stay as they are.

    Args:
        node: what to run.
        x: its input.
        moments: what the layers hold before.
        momentum: of every layer.
        count: how many batches the layers have seen.
    """
    norms = batch_norms(node.module)
    trained = trained_norms(node.module)
    held = [(dict(norm._buffers), norm.momentum) for norm in norms]
    for norm, mean, variance in zip(norms, moments[0::2], moments[1::2], strict=True):
        norm._buffers.update(running_mean=mean.clone(), running_var=variance.clone())
        set_counter(norm, count)
        norm.momentum = momentum
    for norm in trained:
        norm.train()
    try:
        output = run_seeded(node, x.clone())
        recorded = [
            norm._buffers[name] for norm in norms for name in ("running_mean", "running_var")
        ]
        return Trial(output, [tensor.clone() for tensor in recorded if tensor is not None])
    finally:
        for norm, (buffers, before) in zip(norms, held, strict=True):
            norm._buffers.update(buffers)
            norm.momentum = before
            norm.eval()


def set_counter(norm: _BatchNorm, count: int) -> Tensor | None:
    """Make a layer believe that it has seen so many batches; its counter until then."""
    before = norm._buffers.get("num_batches_tracked")
    norm._buffers["num_batches_tracked"] = torch.tensor(count)
    return before
