"""Telling the attributes that take part in a forward from those that are only bookkeeping."""

from __future__ import annotations

import argparse
import re
import sys
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

FOUNDATIONS = frozenset(
    {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "raynas"} - {"__main__"}
)
"""Packages whose functions and classes are known by their names; the code of others is read."""

NOT_COMPUTED_WITH = re.compile(
    "__(init|repr|doc|module|qualname|dict|weakref|annotations|annotate|annotate_func|"
    "annotations_cache|parameters|firstlineno|static_attributes|abstractmethods|orig_bases|"
    "getstate|setstate|reduce|reduce_ex|dataclass_params|dataclass_fields|match_args|hash|slots|"
    "slotnames)__"
    "|extra_repr|_abc_impl"
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
    """Whether an object's attributes are to be read: those of a user's classes, mostly."""
    kind = type(value)
    if isinstance(value, type | FunctionType | ModuleType | nn.Module | Tensor):
        return False
    if isinstance(value, argparse.Namespace | SimpleNamespace):
        return True
    readable = not is_known(kind) or kind.__module__.startswith(("torch.nn", "raynas"))
    return readable and bool(hasattr(value, "__dict__") or slots_of(kind))


def object_state(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots included."""
    state = {str(name): held for name, held in getattr(value, "__dict__", {}).items()}
    return state | {n: getattr(value, n) for n in slots_of(type(value)) if hasattr(value, n)}


def slots_of(kind: type) -> list[str]:
    """Names of attributes that instances hold outside their dictionary."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def is_constant(value: Any) -> bool:
    """Whether a global of a module may be read: not what grows while programs run."""
    if isinstance(value, dict | list | set):
        held = value.values() if isinstance(value, dict) else value
        return len(value) <= LONGEST_GLOBAL and not any(isinstance(v, Tensor) for v in held)
    return True


def is_known(kind: type) -> bool:
    """Whether a class comes with Python, torch, torchvision, numpy or this package."""
    return is_known_name(kind.__module__)


def is_known_name(module: str | None) -> bool:
    """Whether a module of this name belongs to a known package."""
    return module is not None and module.split(".")[0] in FOUNDATIONS


def script_text(code: str) -> str:
    """TorchScript without the numbers by which one process tells equal classes apart."""
    return re.sub(r"\.?___torch_mangle_\d+", "", code)


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
        return {"code": scripted(module)}
    found: dict[str, Any] = {}
    for name, value in sorted(vars(module).items()):
        derived = f"{name}_orig" in module._parameters or f"{name}_g" in module._parameters
        if OWN_TABLES.fullmatch(name) or (derived and is_cache(value)):
            continue
        if not (is_cache(value) and (name in written or type(value) is dict)):
            found[name] = value
    for table, flags in HOOKS.items():
        hooks = vars(module).get(table) or {}
        called = [vars(module).get(flag) or {} for flag in flags]
        if hooks:
            found[table] = [
                (hook, *(key in each for each in called)) for key, hook in hooks.items()
            ]
    return found


def is_cache(value: Any) -> bool:
    """Whether a value may be what an earlier forward left behind."""
    # By type, since objects of a user may raise when they are asked for their class.
    kind = type(value)
    if kind is dict:
        return all(issubclass(type(held), Tensor) for held in value.values())
    if kind in (list, tuple):
        return any(issubclass(type(held), Tensor) for held in value)
    return value is None or issubclass(kind, Tensor)


def scripted(module: torch.jit.ScriptModule) -> str:
    """The code of a TorchScript module, and its class where it has no forward of its own."""
    try:
        return script_text(module.code)
    except (RuntimeError, AttributeError):
        return str(getattr(module, "original_name", ""))
