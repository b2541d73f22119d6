"""Whether a worker's replica and task compute what those that they were packed from do.

Modules that can be imported travel by their names. Where a file was edited after this process had
imported it, or a node has another version, a worker imports other code than runs here, and its
scores would be recorded as those of this supernet and task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from raynas.errors import InputError, require
from raynas.evaluation.device.machine import machine_facts
from raynas.supernets.behaviour import Behaviour, behaviours
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.chain_nodes import examined_copy, on_meta
from raynas.supernets.layout import SAMPLES
from raynas.supernets.plain_torch import plain_torch
from raynas.supernets.value_digest import value_digest
from raynas.task import Task
from raynas.workers.replicas import unpack


@final
@dataclass(frozen=True)
class Fingerprint:
    """The outputs of every module of a supernet on examples, in brief.

    Args:
        behaviour: of every module.
        machine: on whose CPU they ran; others round differently.
    """

    behaviour: tuple[Behaviour, ...]
    machine: dict[str, str]


def fingerprint(supernet: ChainSupernet) -> Fingerprint | None:
    """Run a copy of a supernet on examples; `None` where it has no data.

    Code of libraries is run as well: it may be patched, or of another version elsewhere.

    Raises:
        InputError: modules that cannot be copied.
    """
    if on_meta(supernet):
        return None
    with plain_torch():
        replica = examined_copy(supernet).float()
        # As many examples as a worker tries modules on anyway.
        return Fingerprint(behaviours(replica, SAMPLES), machine_facts(torch.device("cpu")))


def require_same_code(replica: ChainSupernet, packed: Fingerprint | None) -> None:
    """See that a replica computes what the supernet did where it was packed; it stays as it is.

    Raises:
        InputError: a module that gives something else.
    """
    mine = None if packed is None else fingerprint(replica)
    if packed is None or mine is None:
        return
    exact = mine.machine == packed.machine
    # Where only one has batch norms, only that one was run under statistics of the batch, too.
    runs = [[(run.node, run.statistics) for run in each.behaviour] for each in (mine, packed)]
    if runs[0] != runs[1]:
        raise other_code("supernet", "other layers of batch norm")
    for here, there in zip(mine.behaviour, packed.behaviour, strict=True):
        if here != there and (exact or not here.resembles(there)):
            raise other_code(here.node, "other outputs")


def other_code(argument: str, got: str) -> InputError:
    """The error for a replica that is not the supernet that was packed."""
    return InputError(
        argument,
        "modules that compute the same on workers as in the process that starts the search",
        got,
        "Restart Python after a module was edited, and install the same version of it on every "
        "node.",
    )


def digest_of_packed(task: bytes) -> str:
    """The digest of a packed task as it is unpacked in this process, for `require_same_task`."""
    # A task may leave out what it remembers when it is pickled.
    return value_digest(unpack(task))


def require_same_task(task: Task | None, packed: str | None) -> None:
    """See that a task has the code and the values here that it has where it was packed.

    Args:
        task: as it was unpacked here.
        packed: its `digest_of_packed` there; not compared if `None`.

    Raises:
        InputError: it has others.
    """
    require(
        task is None or packed is None or value_digest(task) == packed,
        "task",
        "a function that is the same on workers as in the process that starts the search",
        "other code, or other values that it reads",
        "Restart Python after its module was edited, and install the same version of it on every "
        "node; keep what it remembers between calls in functools.cache, not in its module.",
    )
