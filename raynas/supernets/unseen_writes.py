"""Modules whose code may write into its input in ways that autograd does not see."""

from __future__ import annotations

import torch
from torch import nn

from raynas.supernets.attributes import module_attributes
from raynas.supernets.chain import ChainSupernet, NodeKind
from raynas.supernets.layout import modules_of
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


def unseen_writers(supernet: ChainSupernet) -> frozenset[NodeKind]:
    """The modules that are not seen to leave their input alone.

    Those of torch, of torchvision and of this library do, as they come. Of others, all code is
    followed that they can be seen to lead to; whatever cannot be followed may write.
    """
    kinds = modules_of(supernet)
    return frozenset(kind for kind, module in kinds.items() if may_write(module))


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
