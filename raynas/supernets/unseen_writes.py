"""Modules whose code may write into its input in ways that autograd does not see."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from raynas.supernets.attributes import module_attributes
from raynas.supernets.chain import ChainSupernet, NodeKind
from raynas.supernets.known_code import is_as_it_came
from raynas.supernets.layout import modules_of
from raynas.supernets.object_content import PLAIN_TENSORS
from raynas.supernets.reach import Reach, registered_names

UNSEEN = frozenset((
    "data", "numpy", "__array__", "__array_interface__", "asarray", "array", "from_dlpack",
    "to_dlpack", "__dlpack__", "set_", "resize_", "storage", "untyped_storage", "data_ptr",
    "frombuffer", "_from_dlpack", "_to_dlpack", "getattr", "__getattribute__", "vars",
    "__dict__", "attrgetter", "methodcaller",
))  # fmt: skip
"""Names by which code gets at the memory of a tensor, or at what no name shows."""

FOREIGN = ("numpy.", "ctypes.", "gc.", "inspect.", "torch.ops.", "torch.utils.dlpack.")
"""Packages whose functions may do so."""

TABLES = ("_parameters", "_buffers", "_modules")
"""Attributes of every module that hold its tensors and parts."""

NUMBERS = frozenset((type(None), bool, int, float, str))
"""Types of values that no code is in."""

EMPTIES = frozenset((dict, OrderedDict, set, list))
"""Types of containers that hold no code as long as they are empty, as those of hooks."""


def unseen_writers(supernet: ChainSupernet) -> frozenset[NodeKind]:
    """The modules that are not seen to leave their input alone.

    Those of torch, of torchvision and of this library do, as they come. Of others, all code is
    followed that they can be seen to lead to; whatever cannot be followed may write.
    """
    known = {kind: is_as_it_came(kind) for kind in {*map(type, supernet.modules())}}

    def suspected(module: nn.Module) -> bool:
        return not all(known[type(part)] and holds_numbers(part) for part in module.modules())

    kinds = modules_of(supernet).items()
    return frozenset(kind for kind, module in kinds if suspected(module) and may_write(module))


def holds_numbers(part: nn.Module) -> bool:
    """Whether a module holds only tensors, modules and plain values: no hook, no function."""
    for name, value in vars(part).items():
        if name in TABLES:
            held = value.values()
            if name != "_modules" and not {*map(type, held)} <= {type(None), *PLAIN_TENSORS}:
                return False
        elif type(value) is tuple:
            if not {*map(type, value)} <= NUMBERS:
                return False
        elif type(value) not in NUMBERS and not (type(value) in EMPTIES and not value):
            return False
    return True


def may_write(module: nn.Module) -> bool:
    """Whether code that a module may run uses one of the names, or cannot be read."""
    # TorchScript cannot be read as Python is.
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return True
    # Of what code uses nothing is left aside for a cache.
    reach = Reach(registered_names(module), caches=False)
    for part in module.modules():
        reach.class_digest(type(part))
        for value in module_attributes(part, frozenset()).values():
            reach.digest(value)
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            reach.class_digest(type(tensor))
    reach.reached()
    if reach.unread or any(name_may_write(name) for name in reach.noted):
        return True
    return any(UNSEEN & (facts.attributes | facts.globals) for facts in reach.codes())


def name_may_write(full: str) -> bool:
    """Whether the full name of a known function is one of those that may write."""
    return full.startswith(FOREIGN) or full.rpartition(".")[2] in UNSEEN
