"""Which choices of a block compute the same thing, so that candidates need not be told apart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from raynas.space import Architecture, SearchSpace
from raynas.supernets.chain import ChainSupernet

Equivalents = tuple[tuple[int, ...], ...]
"""Of every block and choice, the lowest choice of the block that computes the same."""

PLAIN = (bool, int, str, bytes, type(None), torch.dtype, torch.device)
"""Classes whose values are the same where they are equal."""


def equivalent_choices(supernet: ChainSupernet) -> Equivalents:
    """Find choices that map every input to the same output, to the last bit.

    Choices are taken for the same if they are one module, or modules of the same class, with equal
    attributes and equal children, whose parameters and buffers have the same bits and layout.
    Whatever cannot be compared so (hooks, objects of unknown classes) must be the same object.
    So two choices that compute the same in different ways count as different.

    Returns:
        Of every block and choice, the lowest choice of the block that computes the same.
    """
    blocks = []
    for block in supernet.blocks:
        assert isinstance(block, nn.ModuleList)
        lowest: list[int] = []
        for choice, module in enumerate(block):
            earlier = (c for c in sorted(set(lowest)) if compute_the_same(block[c], module))
            lowest.append(next(earlier, choice))
        blocks.append(tuple(lowest))
    return tuple(blocks)


def canonical(equivalents: Equivalents, prefix: Sequence[int]) -> Architecture:
    """The architecture, or prefix, in which each choice is the lowest that computes the same.

    Raises:
        InputError: more blocks than there are, or a choice that its block does not have.
    """
    space = SearchSpace(tuple(len(block) for block in equivalents))
    valid = space.validate_prefix(prefix, "architecture")
    return tuple(same[choice] for same, choice in zip(equivalents, valid, strict=False))


def distinct(
    equivalents: Equivalents, architectures: Sequence[Sequence[int]]
) -> tuple[list[Architecture], list[int]]:
    """Canonical architectures, each once, and the place among them of every architecture's.

    Raises:
        InputError: as `canonical`.
    """
    shared = [canonical(equivalents, architecture) for architecture in architectures]
    places = {architecture: place for place, architecture in enumerate(dict.fromkeys(shared))}
    return list(places), [places[architecture] for architecture in shared]


def compute_the_same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules can be seen to be the same function; see `equivalent_choices`."""
    return _Comparison().same(one, other)


class _Comparison:
    """Two object graphs, walked in step.

    Modules and tensors are paired one to one on the way: a module that one graph uses twice must
    be used twice by the other, since a batch norm then has one record of statistics and not two.
    """

    def __init__(self) -> None:
        self._partners: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values are equal in every way that a computation could notice."""
        if type(one) is not type(other):
            return False
        if isinstance(one, nn.Module | Tensor):
            if id(one) in self._partners or id(other) in self._taken:
                return self._partners.get(id(one)) == id(other)
            self._partners[id(one)], self._taken[id(other)] = id(other), id(one)
            if isinstance(one, Tensor):
                return same_bits(one, other)
            return not has_slots(one) and self.same(vars(one), vars(other))
        if type(one) in PLAIN:
            return bool(one == other)
        if type(one) is float:
            return bool(one.hex() == other.hex())
        if type(one) in (dict, OrderedDict) and all(type(key) is str for key in (*one, *other)):
            # In order: children run, and batch norms are recorded, in that of their definition.
            return list(one) == list(other) and all(self.same(one[key], other[key]) for key in one)
        if type(one) in (list, tuple, torch.Size):
            return len(one) == len(other) and all(map(self.same, one, other))
        if type(one) is set and all(type(item) is str for item in one):
            return bool(one == other)
        return one is other


def has_slots(module: nn.Module) -> bool:
    """Whether the module has attributes that `vars` does not show."""
    return any(vars(kind).get("__slots__") for kind in type(module).__mro__)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape, layout and bits."""
    if one is other:
        return True
    if type(one) not in (Tensor, nn.Parameter) or one.layout != torch.strided or one.is_meta:
        return False
    kinds = [(t.dtype, t.device, t.layout, t.shape, t.stride()) for t in (one, other)]
    if kinds[0] != kinds[1] or one.is_quantized:
        return False
    one, other = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)
