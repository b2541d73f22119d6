"""Telling the attributes that take part in a forward from those that are only bookkeeping."""

from __future__ import annotations

import argparse
import re
from functools import lru_cache
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.supernets.known_code import is_known
from raynas.supernets.script_text import scripted

NOT_COMPUTED_WITH = re.compile(
    "__(init|repr|doc|module|qualname|dict|weakref|annotations|annotate|annotate_func|"
    "annotations_cache|parameters|firstlineno|static_attributes|abstractmethods|orig_bases|"
    "getstate|setstate|reduce|reduce_ex|dataclass_params|dataclass_fields|match_args|hash|slots|"
    "slotnames)__"
    "|extra_repr|_abc_impl|_backward_cls|_autograd_function_id|_compiled_autograd_[a-z_]*"
)
"""Attributes of classes that no forward uses; a constructor's work shows in the instance."""

LONGEST_GLOBAL = 100
"""Entries of a container in a Python module that is still taken for a constant."""


def class_items(kind: type) -> list[tuple[str, Any]]:
    """The attributes of a class that its instances compute with, by name."""
    return sorted((n, v) for n, v in vars(kind).items() if not NOT_COMPUTED_WITH.fullmatch(n))


def plain_function(value: Any) -> FunctionType | None:
    """The Python function behind an attribute of a class, if there is one."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


def has_state(value: Any) -> bool:
    """Whether an object is to be read by its attributes, if only by those that code asks for."""
    kind = type(value)
    if issubclass(kind, type | FunctionType | ModuleType | nn.Module | Tensor):
        return False
    if issubclass(kind, argparse.Namespace | SimpleNamespace):
        return True
    return not is_known(kind) and bool(hasattr(value, "__dict__") or slots_of(kind))


def object_state(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots included."""
    state = {str(name): held for name, held in getattr(value, "__dict__", {}).items()}
    if type(value) is np.vectorize:
        # What it makes of the function when it is called first.
        del state["_ufunc"]
    return state | {n: getattr(value, n) for n in slots_of(type(value)) if hasattr(value, n)}


def slots_of(kind: type) -> list[str]:
    """Names of attributes that instances hold outside their dictionary."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def is_constant(value: Any) -> bool:
    """Whether a global of a module may be read: not what grows while programs run."""
    if isinstance(value, dict | list | set):
        held = value.values() if isinstance(value, dict) else value
        return len(value) <= LONGEST_GLOBAL and not any(isinstance(v, Tensor) for v in held)
    return True


HOOKS = {
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
}
"""Tables of hooks that take part in a forward, and of how each is called."""

OWN_TABLES = re.compile(
    "training|_parameters|_buffers|_modules|_non_persistent_buffers_set|_is_full_backward_hook|"
    "_(forward|backward|forward_pre|backward_pre|state_dict|state_dict_pre|load_state_dict_pre|"
    "load_state_dict_post)_hooks(_with_kwargs|_always_called)?|_compiled_call_impl"
)
"""Attributes that PyTorch gives every module."""


def module_attributes(module: nn.Module, written: frozenset[str]) -> dict[str, Any]:
    """Everything that a module computes with beside parameters, buffers and children.

    Tensors and containers of tensors that the module's own methods write while it runs are left
    out, and those that hooks compute from a parameter.

    Args:
        module: any module.
        written: names of attributes that its methods write.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return scripted(module)
    found: dict[str, Any] = {}
    for name, value in sorted(vars(module).items()):
        if is_own_table(name):
            continue
        if is_cache(value):
            derived = f"{name}_orig" in module._parameters or f"{name}_g" in module._parameters
            if derived or name in written or type(value) is dict:
                continue
        found[name] = value
    for table, flags in HOOKS.items():
        hooks = vars(module).get(table) or {}
        called = [vars(module).get(flag) or {} for flag in flags]
        if hooks:
            found[table] = [
                (hook, *(key in each for each in called)) for key, hook in hooks.items()
            ]
    return found


@lru_cache(maxsize=1024)
def is_own_table(name: str) -> bool:
    """Whether PyTorch gives every module an attribute of this name."""
    return OWN_TABLES.fullmatch(name) is not None


def is_cache(value: Any) -> bool:
    """Whether a value may be what an earlier forward left behind."""
    # By type, since objects of a user may raise when they are asked for their class.
    kind = type(value)
    if kind is dict:
        return all(issubclass(type(held), Tensor) for held in value.values())
    if kind in (list, tuple):
        return any(issubclass(type(held), Tensor) for held in value)
    return value is None or issubclass(kind, Tensor)
