"""A subnet as a network of its own: plain modules, whose batch norm has gain and offset.

Such a network is a `ChainSupernet` with one choice a block, so that everything that trains, scores
or counts supernets does so with it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import raynas.supernets
from raynas.errors import require
from raynas.export import plain_subnet
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.spos import initialize
from raynas.supernets.value_digest import value_digest
from raynas.supernets.written_state import is_frozen

if TYPE_CHECKING:
    from raynas.evaluation.batch_norm.statistics import Statistics

Initialize = Callable[[nn.Module], None]
"""Draws weights anew, from torch's generator."""

RESETS = ("reset_parameters", "_reset_parameters")
"""Methods by which modules of torch draw their weights anew."""


def standalone(
    supernet: ChainSupernet, architecture: Sequence[int], statistics: Statistics | None = None
) -> ChainSupernet:
    """Take one architecture out of a supernet, which stays as it is, as a network with its weights.

    Batch norms without gain and offset get them (SPOS retrains such networks; its supernet has
    none): ones and zeros, so that nothing else is computed than before.

    Args:
        supernet: whose weights are copied; nothing is shared with it.
        architecture: one choice per block.
        statistics: of batch norm, merged, of the nodes of the architecture; `None` keeps the
            supernet's running ones.

    Returns:
        A chain on the CPU, in evaluation mode, with one choice a block under its name.

    Raises:
        InputError: an architecture that the supernet does not have, or modules that cannot be
            copied.
    """
    chosen = supernet.space.validate(architecture)
    stem, *blocks, head = plain_subnet(supernet, chosen, statistics)
    network = ChainSupernet(
        stem,
        [[block] for block in blocks],
        head,
        inputs=supernet.inputs,
        num_classes=supernet.num_classes,
        names=[[name] for name in supernet.decode(chosen)],
    )
    for module in network.modules():
        add_affine(module)
    return network.eval()


def add_affine(module: nn.Module) -> None:
    """Give a batch norm with running statistics gain and offset, unless it has them."""
    if isinstance(module, _BatchNorm) and module.running_mean is not None and not module.affine:
        module.affine = True
        for name, fill in (("weight", torch.ones), ("bias", torch.zeros)):
            values = fill(module.num_features, dtype=module.running_mean.dtype)
            module.register_parameter(name, nn.Parameter(values))


def reset(network: ChainSupernet, seed: int, rule: Initialize | None) -> None:
    """Draw all weights of a network anew, and forget its batch-norm statistics.

    Every module is reset as torch resets it, those inside others first; the rule then applies to
    the whole. Weights without a gradient belong to the network, and stay.

    Args:
        network: changed in place.
        seed: determines the weights; torch's own generator stays as it is.
        rule: of the family; torch's alone if `None`.

    Raises:
        InputError: a module that has weights and cannot be reset, by name.
    """
    named = [(name, each) for name, each in network.named_modules() if has_weights(each)]
    stuck = [name for name, module in named if resetting(module) is None]
    require(
        not stuck,
        "architecture",
        "modules with a method reset_parameters(), so that a training can begin from scratch",
        f"none in {', '.join(stuck[:3])}{', …' if len(stuck) > 3 else ''}",
        "Write the method, or fine-tune the weights of the supernet with inherit (--inherit).",
    )
    # Not only those with weights: batch norms may have statistics alone.
    found = [
        call
        for module in reversed(list(network.modules()))
        if not is_frozen(module) and (call := resetting(module)) is not None
    ]
    kept = [(each, each.clone()) for each in network.parameters() if not each.requires_grad]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for call in found:
            call()
        if rule is not None:
            rule(network)
        for parameter, value in kept:
            parameter.copy_(value)


def family_rule(supernet: ChainSupernet) -> Initialize | None:
    """The rule by which the supernets of this library are initialised; `None` for all others."""
    builder = (supernet.recipe or {}).get("builder")
    known = isinstance(builder, str) and callable(getattr(raynas.supernets, builder, None))
    return initialize if known else None


def rule_in_words(rule: Initialize | None) -> str | None:
    """The name of a rule, and for one of the user's own a digest of its code and values."""
    if rule is None or rule is initialize:
        return None if rule is None else initialize.__qualname__
    return f"{getattr(rule, '__qualname__', type(rule).__qualname__)} {value_digest(rule)}"


def has_weights(module: nn.Module) -> bool:
    """Whether a module has weights of its own that a training changes."""
    return any(each.requires_grad for each in module.parameters(recurse=False))


def resetting(module: nn.Module) -> Callable[[], None] | None:
    """The method that draws a module's own weights anew, if it has one."""
    methods = (getattr(module, name, None) for name in RESETS)
    return next((method for method in methods if callable(method)), None)
