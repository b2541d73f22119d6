"""Modules that average their batch norms by themselves, found by trying them.

A module of a user may call `F.batch_norm` on a layer's buffers, split its batch inside the layer,
or keep the statistics in code of its own. Torch's cumulative average (`momentum=None`, and a
counter of calls) is then the one thing that all such code follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation.batch_norm.statistics import set_calibrating, start_counters
from raynas.evaluation.batch_norm.vectors import ShardStatistics
from raynas.evaluation.trie import node_name
from raynas.supernets.chain import ChainSupernet, NodeKind, batch_norms
from raynas.supernets.chain_nodes import copy_of
from raynas.supernets.layout import SAMPLES, is_known, modules_of
from raynas.supernets.training_mode import trained_norms


def own_kinds(supernet: ChainSupernet) -> frozenset[NodeKind]:
    """The modules with batch norms whose code is a user's: it may run them or not."""
    kinds = modules_of(supernet)
    return frozenset(
        kind for kind, module in kinds.items() if batch_norms(module) and not is_known(module)
    )


def counting_kinds(
    supernet: ChainSupernet, own: frozenset[NodeKind], device: torch.device
) -> frozenset[NodeKind]:
    """Find the modules of a user whose batch norms run under torch's cumulative average.

    Code that cannot do without a number for the momentum is left out: it is given one for each
    call of the layer.

    Args:
        supernet: in evaluation mode, on the device; it stays as it is.
        own: its `own_kinds`.
        device: that it is on.
    """
    if not own:
        return frozenset()
    kinds = modules_of(supernet)
    found: set[NodeKind] = set()
    gpus = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=gpus), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.tensor(supernet.inputs.examples(SAMPLES)).to(device)
        for depth in range(max(depth for depth, _ in own) + 1):
            here = [kind for kind in kinds if kind[0] == depth]
            found.update(k for k in here if k in own and counts(kinds[k], x))
            x = kinds[here[0]](x.clone()).contiguous()
    return frozenset(found)


def counts(module: nn.Module, x: Tensor) -> bool:
    """Whether a module runs with `momentum=None` in its batch norms; it stays as it is."""
    tried = copy_of(module)
    start_counters(batch_norms(tried))
    set_calibrating(trained_norms(tried), True)
    try:
        tried(x.clone())
    # Whatever it raises, it is tried again with numbers.
    except Exception:
        return False
    return True


def require_same_layers(results: Sequence[ShardStatistics], blocks: int) -> None:
    """See to it that a layer records in every batch or in none: its mean would be of some only.

    Workers see a part of the shards each, so that only whoever merges their results can tell.

    Args:
        results: of the same nodes, from each shard.
        blocks: how many blocks the chain has.

    Raises:
        InputError: a layer that recorded in some batches only.
    """
    silent = [{layer for layer, calls in each.calls.items() if not calls} for each in results]
    some = silent[0].union(*silent) - silent[0].intersection(*silent)
    if some:
        raise InputError(
            node_name(min(layer.node for layer in some), blocks),
            "batch norms that run in every batch, or in none",
            "one that runs for some batches only",
            "Let every batch reach it, or evaluate with batch_norm='inherit'.",
        )
