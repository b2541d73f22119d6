"""The part of a network's state that a training writes; the rest belongs to the network."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, is_tensor, nn

from raynas.supernets.behaviour import SAMPLES, run_all
from raynas.supernets.chain import batch_norms
from raynas.supernets.chain_nodes import examined_copy, on_meta
from raynas.supernets.structure import BATCH_COUNTER, digest_or_type

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

Writer = Literal["any training", "training", "fresh start"]
"""The one that writes: `"any training"` of the network, with whichever parameters it freezes; a
`"training"` of those parameters that have a gradient now; or the `"fresh start"` of a retraining,
which draws these anew and forgets the statistics of batch norm."""


def written_tensors(network: ChainSupernet, writer: Writer) -> Iterator[Tensor]:
    """The parameters, persistent buffers and batch-norm statistics that are written to.

    Trainings write to batch-norm statistics, and to what a pass in training mode changes.

    Args:
        network: a copy to examine; it stays as it is.
        writer: see `Writer`.
    """
    everything = writer == "any training"
    doubtful = {
        name: held
        for name, held in state_of(network).items()
        if not isinstance(held, nn.Parameter) or not (everything or held.requires_grad)
    }
    for norm in batch_norms(network):
        if everything or not is_frozen(norm):
            sure = {id(held) for held in (norm.running_mean, norm.running_var)}
            doubtful = {name: held for name, held in doubtful.items() if id(held) not in sure}
            yield from (held for held in (norm.running_mean, norm.running_var) if is_tensor(held))
    yield from (each for each in network.parameters() if everything or each.requires_grad)
    if writer != "fresh start":
        changed = changed_by_passes(network, doubtful)
        yield from (doubtful[name] for name in changed)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters of its own, and none of them a gradient."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(each.requires_grad for each in own)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a state dict by name, but for counters of batches."""
    held = network.state_dict(keep_vars=True)
    return {
        name: tensor
        for name, tensor in held.items()
        if is_tensor(tensor) and name.rpartition(".")[2] != BATCH_COUNTER
    }


def changed_by_passes(network: ChainSupernet, names: Collection[str]) -> list[str]:
    """The tensors, of some, that running every module in training mode changes.

    Once from the values that they have, and once with buffers of zeros: a buffer that a module
    fills when it first runs changes only then.

    Args:
        network: stays as it is.
        names: of the tensors, as in a state dict.
    """
    if not names or on_meta(network):
        return []
    found: set[str] = set()
    for emptied in (False, True):
        tried = examined_copy(network).float()
        before = state_of(tried)
        if emptied:
            with torch.no_grad():
                for name in names:
                    if not isinstance(before[name], nn.Parameter):
                        before[name].zero_()
        digests = {name: digest_or_type(before[name]) for name in names}
        tried.train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in run_all(tried, "batch", SAMPLES):
                pass
        after = state_of(tried)
        found |= {n for n in names if n not in after or digest_or_type(after[n]) != digests[n]}
    return [name for name in names if name in found]
