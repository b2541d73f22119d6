"""Modules whose code may write into its input in ways that autograd does not see."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from raynas.supernets.attributes import class_items, is_known, is_known_name, plain_function
from raynas.supernets.chain import ChainSupernet, NodeKind
from raynas.supernets.code_facts import CodeFacts, code_facts
from raynas.supernets.layout import is_known as runs_known_code
from raynas.supernets.layout import modules_of

UNSEEN = frozenset((
    "data", "numpy", "__array__", "__array_interface__", "asarray", "array", "from_dlpack",
    "to_dlpack", "__dlpack__", "set_", "resize_", "storage", "untyped_storage", "data_ptr",
    "frombuffer", "getattr",
))  # fmt: skip
"""Names by which code gets at the memory of a tensor."""

MOST_READ = 1_000
"""Functions that are read; a module that leads to more is taken for one that may write."""


def unseen_writers(supernet: ChainSupernet) -> frozenset[NodeKind]:
    """The modules of a user that read one of these names, be it for something else."""
    kinds = modules_of(supernet)
    return frozenset(kind for kind, module in kinds.items() if may_write(module))


def may_write(module: nn.Module) -> bool:
    """Whether code that a module can be seen to run reads one of the names."""
    if runs_known_code(module):
        return False
    # TorchScript cannot be read as Python is.
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return True
    pending = [each for part in module.modules() for each in code_of(part)]
    read: set[int] = set()
    while pending:
        function = pending.pop()
        if id(function) in read:
            continue
        read.add(id(function))
        facts = code_facts(function.__code__)
        if len(read) > MOST_READ or UNSEEN & (facts.attributes | facts.globals):
            return True
        pending += called(function, facts)
    return False


def code_of(value: Any) -> Iterator[FunctionType]:
    """The Python functions of a module, a class or anything that is called, but for known ones."""
    if isinstance(value, nn.Module):
        hooks = (*value._forward_pre_hooks.values(), *value._forward_hooks.values())
        for held in (*vars(value).values(), *hooks):
            if not isinstance(held, type | nn.Module):
                yield from code_of(held)
        value = type(value)
    while isinstance(value, partial):
        value = value.func
    function = plain_function(value)
    if isinstance(value, type):
        for base in value.__mro__:
            yield from functions_of(base)
    elif function is None and callable(value):
        yield from code_of(type(value))
    elif function is not None and not is_known_name(function.__module__):
        yield function


def functions_of(kind: type) -> Iterator[FunctionType]:
    """The functions in a class itself; in a known one, those that were put there by others."""
    known = is_known(kind)
    for held in vars(kind).values() if known else [held for _, held in class_items(kind)]:
        function = plain_function(held)
        if function is not None and not (known and is_known_name(function.__module__)):
            yield function


def called(function: FunctionType, facts: CodeFacts) -> Iterator[FunctionType]:
    """The functions that a function can be seen to call."""
    held = [function.__globals__.get(name) for name in facts.globals]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            continue
    for value in held:
        if not isinstance(value, ModuleType):
            yield from code_of(value)
        elif not is_known_name(value.__name__):
            for name in facts.attributes & vars(value).keys():
                yield from code_of(vars(value)[name])
