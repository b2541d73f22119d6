"""The walk through one Python value that its digest is made on."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from raynas.supernets.attributes import (
    has_state,
    is_known_name,
    module_attributes,
    object_state,
    script_text,
)
from raynas.supernets.tensor_digest import array_digest, tensor_digest

if TYPE_CHECKING:
    from raynas.supernets.value_digest import Reach

PLAIN = (type(None), bool, int, complex, str, bytes, type(...), range, slice, torch.dtype)
"""Types whose values are written out by `repr` alike everywhere."""

DEEPEST = 60
"""The depth to which nested values are read; deeper ones are left out."""

MOST_WALKED = 100_000
"""Containers and objects of one value that are read at most."""


@final
class ValueWalk:
    """The digest of one value, written while it is walked."""

    def __init__(self, reach: Reach) -> None:
        self.total = hashlib.blake2b(digest_size=16)
        self._reach = reach
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []
        self._depth = 0
        self._walked = [0]

    def put(self, kind: str, content: bytes | str = b"") -> None:
        """Write one piece, marked with its kind and length."""
        data = content.encode() if isinstance(content, str) else content
        self.total.update(f"{kind} {len(data)}:".encode() + data)

    def add(self, value: Any) -> None:
        """Write a value and all that is in it."""
        kind = type(value)
        if kind is float:
            self.put("float", value.hex())
        elif kind in PLAIN:
            self.put(kind.__name__, repr(value))
        elif kind in (tuple, frozenset, torch.Size):
            self._nest(value, self._add_items)
        elif id(value) in self._reach.names:
            self._reach.referred.add(self._reach.names[id(value)])
            self.put("registered", self._reach.names[id(value)])
        elif id(value) in self._seen:
            self.put("seen", str(self._seen[id(value)]))
        else:
            self._seen[id(value)] = len(self._seen)
            # Kept alive, since the id of a temporary object may be given to another one.
            self._kept.append(value)
            self._nest(value, self._add_object)

    def _nest(self, value: Any, write: Callable[[Any], None]) -> None:
        self._walked[0] += 1
        if self._depth >= DEEPEST or self._walked[0] > MOST_WALKED:
            self.put("deep")
            return
        self._depth += 1
        try:
            write(value)
        finally:
            self._depth -= 1

    def _add_items(self, value: Any) -> None:
        """Write a container: sequences and mappings in order, sets in that of their digests."""
        if isinstance(value, Mapping):
            self.put("mapping", str(len(value)))
            for key, held in list(value.items()):
                self.add(key)
                self.add(held)
        elif isinstance(value, set | frozenset):
            self.put("set", b"".join(sorted(self._apart(item) for item in value)))
        else:
            self.put("sequence", str(len(value)))
            for item in list(value):
                self.add(item)

    def _apart(self, value: Any) -> bytes:
        """The digest of one item of a set, whose items have no order.

        What led to the set is not walked again, since an item may refer back to it.
        """
        walk = ValueWalk(self._reach)
        walk._seen, walk._depth, walk._walked = dict(self._seen), self._depth, self._walked
        walk.add(value)
        return walk.total.digest()

    def _add_object(self, value: Any) -> None:
        try:
            self._add_known(value)
        # Objects of a user raise nearly anything when they are looked at.
        except Exception as error:
            self.put("unreadable", type(error).__name__)

    def _add_known(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.put("tensor", tensor_digest(value))
        elif isinstance(value, np.ndarray | np.generic):
            self.put("array", array_digest(np.asarray(value)))
        elif isinstance(value, torch.jit.ScriptFunction):
            self.put("script", script_text(str(value.code)))
        elif isinstance(value, nn.Module):
            self._add_module(value)
        elif isinstance(value, type):
            self.put("class", self._reach.class_digest(value))
        elif isinstance(value, Enum):
            self.put("enum", f"{type(value).__name__}.{value.name}")
            self.add(value.value)
        elif isinstance(value, PurePath | re.Pattern | torch.layout | torch.memory_format):
            self.put("text", str(value))
        elif isinstance(value, ModuleType):
            self.put("module", value.__name__)
        elif not self._add_callable(value):
            self._add_state(value)

    def _add_callable(self, value: Any) -> bool:
        """Write a function of any kind; whether it was one."""
        if isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, MethodType):
            self.put("method")
            self.add(value.__self__)
            self.add(value.__func__)
        elif isinstance(value, functools.partial):
            self.put("partial")
            for part in (value.func, value.args, value.keywords):
                self.add(part)
        elif isinstance(value, property):
            self.put("property")
            self.add(value.fget)
        elif isinstance(value, staticmethod | classmethod):
            self.put(type(value).__name__)
            self.add(value.__func__)
        elif isinstance(value, functools.cached_property):
            self.put("property")
            self.add(value.func)
        elif isinstance(value, BuiltinFunctionType):
            self.put("builtin", f"{value.__module__}.{value.__qualname__}")
        elif hasattr(value, "__wrapped__") and callable(value):
            self.put("wrapped")
            self.add(value.__wrapped__)
        else:
            return False
        return True

    def _add_function(self, function: FunctionType) -> None:
        if is_known_name(function.__module__):
            self.put("known", f"{function.__module__}.{function.__qualname__}")
            self.add(getattr(function, "__wrapped__", None))
            return
        self._reach.meet(function)
        self.put("function", self._reach.facts(function.__code__).digest)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self.put("empty cell")

    def _add_module(self, module: nn.Module) -> None:
        """Write a module that is not registered anywhere: in a list, or in a closure."""
        self.put("unregistered", self._reach.class_digest(type(module)))
        for attribute, value in module_attributes(
            module, self._reach.stored_attributes(type(module))
        ).items():
            self.put("attribute", attribute)
            self.add(value)
        for table in (module._parameters, module._buffers, module._modules):
            self.put("table", str(len(table)))
            for name, held in table.items():
                if not name.endswith("num_batches_tracked"):
                    self.put("name", name)
                    self.add(held)

    def _add_state(self, value: Any) -> None:
        """Write an object by its class, its content and its attributes."""
        kind = type(value)
        self.put("object", self._reach.class_digest(kind))
        if isinstance(value, Mapping | list | tuple | set | frozenset | deque):
            self._add_items(value)
        elif isinstance(value, float):
            self.put("float", value.hex())
        elif isinstance(value, int | complex | str | bytes):
            self.put("plain", repr(kind.__mro__[-2](value)))
        if not has_state(value):
            return
        for name, held in sorted(object_state(value).items()):
            self.put("attribute", name)
            self.add(held)
