"""Seeing to it that no module changes its input, which other candidates share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor

from raynas.errors import InputError
from raynas.evaluation.nodes import Run
from raynas.evaluation.trie import kind_of, node_name
from raynas.shards.storage import laid_out
from raynas.supernets.chain import NodeKind, NodePath


@final
class InputCheck:
    """Sees to it that no module changes its input, which other candidates share.

    Autograd's version counter shows most changes; those through `.data` only a copy shows, which
    the first execution of every stem, choice and head is compared with. Modules whose code has a
    way to write unseen always run on copies, since they may do so later only, and are compared at
    every node.

    Args:
        blocks: how many blocks the chain has.
        writers: modules that always run on copies; see `unseen_writers`.
    """

    def __init__(self, blocks: int, writers: frozenset[NodeKind] = frozenset()) -> None:
        self._blocks = blocks
        self._writers = writers
        self._compared: set[NodePath | tuple[str, NodeKind]] = set()

    def covers(self, paths: Iterable[NodePath]) -> bool:
        """Whether all that is compared at these nodes was compared already."""
        return self._compared.issuperset(map(self._place, paths))

    def around(self, run: Run) -> Run:
        """A function that runs nodes, and brings their outputs into the layout of activations.

        Raises:
            InputError: when it is run, a module that modifies its input.
        """

        def run_checked(path: NodePath, x: Tensor) -> Tensor:
            # A copy and a comparison with it take as long as a small block. Whether a module writes
            # to its input hangs on its code, hardly on the data, so the first execution tells.
            place = self._place(path)
            first = place not in self._compared
            given = x.clone() if first or kind_of(path) in self._writers else x
            version = given._version
            y = run(path, given)
            if given._version != version or (first and not same_bits(given, x)):
                raise InputError(
                    node_name(path, self._blocks),
                    "modules that leave their input unchanged",
                    "one that modifies it in place",
                    "Do not apply in-place operations to a block's input, nor write through its "
                    ".data or detach(): work on a copy (x.clone()).",
                )
            if first:
                self._remember(place)
            return laid_out(y)

        return run_checked

    def _place(self, path: NodePath) -> NodePath | tuple[str, NodeKind]:
        """The unit of comparison: a module, or each node of one that may write unseen."""
        kind = kind_of(path)
        return path if kind in self._writers else ("module", kind)

    def _remember(self, place: NodePath | tuple[str, NodeKind]) -> None:
        if len(self._compared) >= REMEMBERED:
            self._compared.clear()
        self._compared.add(place)


REMEMBERED = 100_000
"""Nodes that are remembered as compared."""


BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes as a value, in which NaN equals itself."""


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bits."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits = BITS[one.element_size()]
    return torch.equal(one.view(bits), other.view(bits))
