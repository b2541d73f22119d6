"""The names under which other programs store a supernet, and ours in their place.

Wrappers put a prefix before every name: `module.` (data parallel, averaged models), `_orig_mod.`
(torch.compile; inside names, too), `model.` (Lightning), `architecture.` (mmrazor), or whatever the
attribute was called. The supernet that the authors of SPOS released has names of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from raynas.errors import require
from raynas.supernets.chain_nodes import example_batch
from raynas.supernets.plain_torch import plain_torch
from raynas.supernets.structure import BATCH_COUNTER

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

MEGVII_BEGINNINGS = {
    "first_conv.0.": "stem.1.",
    "first_conv.1.": "stem.2.",
    "features.": "blocks.",
    "conv_last.": "head.",
    "classifier.0.": "head.6.",
}
"""Beginnings of names in the released SPOS supernet, and those of `spos()` in their place."""

COMPILED = "_orig_mod."
"""The prefix that torch.compile puts before the names of a module."""

BOOKKEEPING = ("n_averaged", "total_ops", "total_params")
"""Last parts of names of tensors that averaged models and FLOPs counters leave behind."""

LOOKED_AT = 50
"""The number of the supernet's longest names that are looked for in those of a checkpoint."""


def own_names(tensors: Mapping[str, Tensor], own: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """The same tensors under the names of a supernet, whichever known spelling they have.

    Args:
        tensors: of a checkpoint.
        own: the supernet's names.

    Returns:
        The tensors, and the prefix that was taken off all of their names; bookkeeping that the
        supernet has no place for is left out.
    """
    spellings = {name.replace(COMPILED, ""): name for name in own}
    bare = {
        name.replace(COMPILED, ""): tensor
        for name, tensor in tensors.items()
        if name in own or name.rsplit(".", 1)[-1] not in BOOKKEEPING
    }
    prefix = common_prefix(bare, spellings)
    bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    if is_megvii(bare):
        bare = {megvii_name(name): tensor for name, tensor in bare.items()}
    return {spellings.get(name, name): tensor for name, tensor in bare.items()}, prefix


def common_prefix(names: Collection[str], own: Collection[str]) -> str:
    """The prefix, ending in a dot, that all names have and that makes most of them known.

    Nothing is taken off where that makes no more of them known.
    """
    known = set(own)

    def fits(prefix: str) -> int:
        rests = (name.removeprefix(prefix) for name in names)
        return sum(rest in known or is_megvii([rest]) for rest in rests)

    best, most = "", fits("")
    prefix = ""
    while names:
        first = next(iter(names)).removeprefix(prefix)
        if "." not in first:
            break
        prefix += first.split(".", 1)[0] + "."
        if not all(name.startswith(prefix) for name in names):
            break
        if (found := fits(prefix)) > most:
            best, most = prefix, found
    return best


def is_megvii(names: Collection[str]) -> bool:
    """Whether names are those of the released SPOS supernet."""
    return any(name.startswith("first_conv.") for name in names)


def megvii_name(name: str) -> str:
    """The name in `spos()` of a tensor of the released SPOS supernet; others stay as they are.

    `features.7.2.branch_main.0.weight` becomes `blocks.7.2.branch_main.0.weight`: below the choice
    both have the same layers.
    """
    for theirs, ours in MEGVII_BEGINNINGS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def require_raw_bgr(supernet: ChainSupernet) -> None:
    """See that the first layer gives what the released weights expect: BGR from 0 to 255.

    Raises:
        InputError: a supernet that gives its first convolution something else.
    """
    images = example_batch(supernet, 2)
    given: Tensor | None = None
    with plain_torch(), suppress(RuntimeError, TypeError):
        first = next(iter(supernet.stem.children()))
        given = first(images.to(next(iter(supernet.parameters())).device)).cpu()
    expected = images.flip(1).to(torch.float32)
    require(
        given is not None and given.shape == expected.shape and torch.allclose(given, expected),
        "supernet",
        "one whose first layer gives BGR from 0 to 255, which the released SPOS weights were "
        "trained on",
        "one with another preprocessing, on which they give noise",
        "Build it with spos(mean=(0, 0, 0), std=(1 / 255,) * 3, reverse_channels=True).",
    )


def foreign_prefixes(names: Collection[str], own: Collection[str]) -> list[str]:
    """Prefixes before the supernet's own names in those of a checkpoint, most frequent first."""
    counts: dict[str, int] = {}
    marks = sorted((f".{name}" for name in own if not name.endswith(BATCH_COUNTER)), key=len)
    for name in names:
        ends = [mark for mark in marks[-LOOKED_AT:] if name.endswith(mark)]
        if ends:
            prefix = name.removesuffix(ends[-1]) + "."
            counts[prefix] = counts.get(prefix, 0) + 1
    return sorted(counts, key=lambda prefix: -counts[prefix])
