"""The identity of a supernet: everything that a score can depend on, as a value."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, final

import torch

from raynas.errors import InputError
from raynas.supernets.behaviour import Behaviour, behaviours
from raynas.supernets.chain_nodes import examined_copy, on_meta
from raynas.supernets.plain_torch import plain_torch
from raynas.supernets.structure import read_attributes, structure_digest
from raynas.supernets.value_digest import unread_of_task
from raynas.supernets.written_state import Writer, written_tensors
from raynas.task import Task

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

SHOWN = 3
"""Things that could not be read which a message names."""

logger = logging.getLogger("raynas")


@final
@dataclass(frozen=True)
class Identity:
    """The parts that a supernet is made of, and a fingerprint of its behaviour.

    Args:
        structure: a digest of modules, attributes, code and tensors, the same on every machine.
        behaviour: fingerprints of every module; the bits are those of one machine.
            Empty if the supernet cannot be copied, or has no data.
        unread: objects and code that the structure does not change with, in a few words each.
    """

    structure: str
    behaviour: tuple[Behaviour, ...]
    unread: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """All of it in 32 hexadecimal digits: the same on every device of one machine."""
        total = hashlib.blake2b(self.structure.encode(), digest_size=16)
        for each in self.behaviour:
            total.update(f"{each.node} {each.statistics} {each.digest}\n".encode())
        return total.hexdigest()

    @property
    def complete(self) -> bool:
        """Whether all was read and every module ran; if not, a ledger must not believe it."""
        return not self.unread and self.seen_running

    @property
    def seen_running(self) -> bool:
        """Whether every module was seen running."""
        return bool(self.behaviour) and not any(
            each.digest.startswith("raised") for each in self.behaviour
        )

    def difference(self, other: Identity) -> str | None:
        """Name what differs, in a few words; `None` if both can be of one supernet.

        Behaviour is compared with a tolerance, since other processors round differently.
        """
        if [(b.node, b.statistics) for b in self.behaviour] != [
            (b.node, b.statistics) for b in other.behaviour
        ]:
            return "the blocks and choices, or whether they could be run"
        for mine, theirs in zip(self.behaviour, other.behaviour, strict=True):
            if not mine.resembles(theirs):
                return f"what {mine.node} computes"
        if self.structure != other.structure:
            return "weights, attributes or code of its modules"
        return None

    def to_json(self) -> dict[str, Any]:
        """A JSON object for `config.json`."""
        return {
            "structure": self.structure,
            "behaviour": [list(astuple(b)) for b in self.behaviour],
            "unread": list(self.unread),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Identity:
        """Read back what `to_json` gave."""
        rows = tuple(Behaviour(*row) for row in content["behaviour"])
        return Identity(str(content["structure"]), rows, tuple(content.get("unread", ())))


def doubt(found: Identity, task: Task) -> str | None:
    """Say why another supernet or task could have the same digest; `None` if none could.

    Args:
        found: the identity of the supernet.
        task: how its outputs are judged.
    """
    if found.unread:
        return f"{' and '.join(found.unread[:SHOWN])} of the supernet cannot be read"
    if not found.complete:
        return "the supernet could not be run on examples"
    unread = unread_of_task(task)
    return f"{' and '.join(unread[:SHOWN])} of the task cannot be read" if unread else None


def identity(supernet: ChainSupernet) -> Identity:
    """Examine a supernet, which stays as it is.

    The structure covers, for every module in order, its class, attributes and hooks, the code of
    classes and functions that do not come with torch, all parameters and buffers by name, type,
    shape, value and sharing (batch counters left out), inputs, classes and recipe. Attributes that
    running the modules changes (counters, caches) are left out. The behaviour catches what cannot
    be read. A module's own `raynas_identity()`, if it has one, adds the JSON value that it returns.

    Raises:
        InputError: a `raynas_identity` that raises.
    """
    with plain_torch():
        try:
            replica = examined_copy(supernet)
        except InputError:
            read = read_attributes(supernet)
            structure = structure_digest(supernet, read.attributes, read.reached)
            return Identity(structure, (), read.unread)
        return identity_of_copy(replica)


def identity_of_copy(replica: ChainSupernet) -> Identity:
    """The identity of an examined copy, which stays as it is."""
    before = read_attributes(replica)
    if on_meta(replica):
        structure = structure_digest(replica, before.attributes, before.reached)
        return Identity(structure, (), before.unread)
    spoilt = examined_copy(replica)
    seen = behaviours(spoilt.float())
    after = read_attributes(spoilt)
    rest = after.attributes
    steady = {name: value for name, value in before.attributes.items() if rest.get(name) == value}
    # What code leads to may change while it runs as well: a logger, a cache of a library.
    structure = structure_digest(replica, steady, before.reached & after.reached)
    return Identity(structure, seen, before.unread)


def untrained_digest(supernet: ChainSupernet, writer: Writer = "training") -> str:
    """A digest of all that a supernet computes with but what is written before it counts.

    A training writes to parameters with a gradient, to batch-norm statistics, and to buffers that a
    pass in training mode changes. Frozen weights, and other buffers such as the means of
    `Normalize`, are part of the network. What cannot be read is named in a warning of the logger
    `raynas`.

    Args:
        supernet: that is examined.
        writer: see `raynas.supernets.written_state.Writer`.

    Returns:
        32 hexadecimal digits, the same before, during and after a training.

    Raises:
        InputError: modules that cannot be copied, or a `raynas_identity` that raises.
    """
    with plain_torch():
        replica = examined_copy(supernet)
        written = list(written_tensors(replica, writer))
        with torch.no_grad():
            for tensor in written:
                tensor.zero_()
        found = identity_of_copy(replica)
    if found.unread:
        logger.warning(
            "supernet: %s cannot be read, so that a checkpoint, a latency table or a retraining of "
            "another network could be taken for one of this.",
            " and ".join(found.unread[:SHOWN]),
        )
    return found.structure


def digest(supernet: ChainSupernet) -> str:
    """A digest of everything that a supernet's scores depend on, the same on every device.

    Returns:
        32 hexadecimal digits; see `identity`.
    """
    return identity(supernet).digest
