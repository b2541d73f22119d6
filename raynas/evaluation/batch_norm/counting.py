"""Modules that average their batch norms by themselves, found by trying them.

A module of a user may call `F.batch_norm` on a layer's buffers, split its batch inside the layer,
or keep the statistics in code of its own. Torch's cumulative average (`momentum=None`, and a
counter of calls) is then the one thing that all such code follows.
"""

from __future__ import annotations

import copy
import warnings
from typing import final

import torch
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation.batch_norm.statistics import set_calibrating, start_counters
from raynas.supernets.chain import ChainSupernet, NodeKind, batch_norms
from raynas.supernets.layout import SAMPLES, is_known, modules_of


def counting_kinds(supernet: ChainSupernet, device: torch.device) -> frozenset[NodeKind]:
    """Find the modules of a user whose batch norms run under torch's cumulative average.

    Code that cannot do without a number for the momentum is left out: it is given one for each
    call of the layer.

    Args:
        supernet: in evaluation mode, on the device; it stays as it is.
        device: that it is on.
    """
    kinds = modules_of(supernet)
    own = {kind for kind, module in kinds.items() if batch_norms(module) and not is_known(module)}
    if not own:
        return frozenset()
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
    tried = copy.deepcopy(module)
    norms = batch_norms(tried)
    start_counters(norms)
    set_calibrating(norms, True)
    try:
        tried(x.clone())
    # Whatever it raises, it is tried again with numbers.
    except Exception:
        return False
    return True


@final
class CallCheck:
    """Sees to it that a layer runs in every batch or in none: its mean would be of some only."""

    def __init__(self) -> None:
        self._seen: dict[NodeKind, list[bool]] = {}

    def see(self, kind: NodeKind, name: str, counted: list[bool]) -> None:
        """Compare which layers of a module ran with the batches before.

        Raises:
            InputError: a layer that ran for some batches only.
        """
        if self._seen.setdefault(kind, counted) != counted:
            raise InputError(
                name,
                "batch norms that run in every batch, or in none",
                "one that runs for some batches only",
                "Let every batch reach it, or evaluate with batch_norm='inherit'.",
            )
