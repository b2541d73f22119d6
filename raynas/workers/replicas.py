"""A worker's own copy of a supernet: in this process, or packed for another one.

`torch.nn.utils.parametrize` forbids pickling its modules, and a weight that was recomputed under a
gradient cannot be copied; both are handled here. What remains that cannot travel is named.
"""

from __future__ import annotations

import copy
import copyreg
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, final

import torch
from torch import nn
from torch.nn.utils import parametrize

from raynas.errors import InputError
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.chain_nodes import empty_containers
from raynas.task import Task

T = TypeVar("T")


def private_copy(supernet: ChainSupernet) -> ChainSupernet:
    """A copy that shares nothing with the supernet.

    Raises:
        InputError: a module that cannot be copied, named.
    """
    return _of_every_part(supernet, _copied, "copied")


def pack(supernet: ChainSupernet) -> bytes:
    """A supernet as bytes that `unpack` makes a copy of, in a process without its device.

    Classes and functions that were defined in a script, in a function or by torch at run time
    travel by value, others by the name of their module.

    Raises:
        InputError: a module that cannot be pickled, named.
    """
    parts = (*supernet.parameters(), *supernet.buffers())
    on_cpu = all(tensor.device.type == "cpu" for tensor in parts)
    host = supernet if on_cpu else private_copy(supernet).to("cpu")
    return _of_every_part(host, _pickled, "pickled, to be sent to workers")


def pack_task(task: Task) -> bytes:
    """A task as bytes.

    Raises:
        InputError: it cannot be pickled.
    """
    try:
        return _pickled(task)
    except Exception as error:
        raise InputError(
            "task",
            "a task that can be pickled, to be sent to workers",
            _in_a_line(error),
            "Leave locks, files and generators out of its function, or use workers=0.",
        ) from error


def unpack(packed: bytes, path: Sequence[str] = ()) -> Any:
    """Unpack a value that `pack` packed.

    Args:
        packed: by another process.
        path: the folders in which that process looks for modules.

    Raises:
        InputError: a module that this process cannot import, or that lacks here what it has there.
    """
    sys.path += [each for each in path if each not in sys.path and os.path.isdir(each)]
    try:
        return pickle.loads(packed)
    except (ImportError, AttributeError) as error:
        name = getattr(error, "name", None)
        raise InputError(
            "supernet",
            "classes and functions from modules that workers can import",
            _in_a_line(error),
            f"Install {name if isinstance(error, ImportError) and name else 'the same version'} on "
            "every node, or define them in the script that starts the search.",
        ) from error


def module_folders() -> list[str]:
    """The folders in which this process looks for modules, for `unpack`."""
    return [os.path.abspath(each) for each in sys.path]


def _copied(module: nn.Module) -> Any:
    """A deep copy; weights that hooks computed under a gradient are copied without it."""
    memo = empty_containers(module)
    for each in module.modules():
        for value in vars(each).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def _pickled(value: Any) -> bytes:
    from ray import cloudpickle

    @final
    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        """Pickles parametrized modules as other modules: torch refuses, but by value it works."""

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, nn.Module) and parametrize.is_parametrized(value):
                return copyreg.__newobj__, (type(value),), vars(value)  # type: ignore[attr-defined]
            return super().reducer_override(value)

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _of_every_part(supernet: ChainSupernet, action: Callable[[Any], T], verb: str) -> T:
    """The action's result for the whole; where it fails, an error that names the first part."""
    try:
        return action(supernet)
    except Exception as error:
        name, cause = "supernet", error
        for part, module in _parts(supernet):
            try:
                action(module)
            except Exception as found:
                name, cause = part, found
                break
        raise InputError(
            name,
            f"a module that can be {verb}",
            _in_a_line(cause),
            "Keep locks, files, generators and compiled modules out of its attributes, or make "
            "them when they are needed.",
        ) from error


def _parts(supernet: ChainSupernet) -> Iterator[tuple[str, nn.Module]]:
    """Every node of the chain and its name, as users write it."""
    yield "stem", supernet.stem
    for block, choices in enumerate(supernet.space.choices):
        for choice in range(choices):
            yield f"blocks[{block}][{choice}]", supernet.node((0,) * block + (choice,))
    yield "head", supernet.head


def _in_a_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
