"""The walk through one Python value that its digest is made on."""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from raynas.supernets.attributes import module_attributes, object_state
from raynas.supernets.known_code import is_known, is_known_function, is_known_name, version_of
from raynas.supernets.object_content import (
    C_FUNCTIONS,
    CACHED,
    PLAIN_TENSORS,
    hidden_content,
    holds_no_constants,
    text_of,
)
from raynas.supernets.script_text import text_and_constants
from raynas.supernets.tensor_digest import array_digest, tensor_digest

if TYPE_CHECKING:
    from raynas.supernets.reach import Reach

PLAIN = (type(None), bool, int, complex, str, bytes, type(...), range, slice, torch.dtype)
"""Types whose values are written out by `repr` alike everywhere."""

DEEPEST = 60
"""The depth to which nested values are read; deeper ones are left out, which is remembered."""

MOST_WALKED = 200_000
"""Containers and objects of one value that are read at most; likewise."""

WRITTEN_AT_ONCE = frozenset((type(None), bool, int, float, complex, str, bytes))
"""Types of items that sequences are written with by one `repr`, which tells all values apart."""


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
            self._leave_out("a value that is nested too deep or too large", "deep")
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
        elif type(value) in (list, tuple) and WRITTEN_AT_ONCE.issuperset(map(type, value)):
            self.put("plain sequence", repr(value))
        else:
            self.put("sequence", str(len(value)))
            for item in list(value):
                self.add(item)

    def _apart(self, value: Any) -> bytes:
        """The digest of one item of a set, whose items have no order.

        What led to the set is not walked again, since an item may refer back to it.
        """
        walk = ValueWalk(self._reach)
        walk._depth, walk._walked = self._depth, self._walked
        # Most items are texts or numbers, which refer to nothing.
        if type(value) not in WRITTEN_AT_ONCE:
            walk._seen = dict(self._seen)
        walk.add(value)
        return walk.total.digest()

    def _add_object(self, value: Any) -> None:
        try:
            self._add_known(value)
        # Objects of a user raise nearly anything when they are looked at.
        except Exception as error:
            self._leave_out(type(value).__name__, type(error).__name__)

    def _leave_out(self, what: str, why: str) -> None:
        """Say that something is not read, so that the digest does not change with it."""
        self._reach.unread.add(what)
        self.put("unreadable", why)

    def _add_known(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.put("tensor", tensor_digest(value))
            if type(value) not in PLAIN_TENSORS:
                self._add_state(value)
            elif vars(value):
                self._add_attributes(vars(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._add_array(value)
        elif isinstance(value, torch.jit.ScriptFunction):
            self.put("script")
            self._add_attributes(text_and_constants(value))
        elif isinstance(value, nn.Module):
            self._add_module(value)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, Enum):
            self.put("enum", f"{self._reach.class_digest(type(value)).hex()}.{value.name}")
            self.add(value.value)
        elif isinstance(value, ModuleType):
            self.put("module", value.__name__)
            self._reach.hold(value)
        elif (text := text_of(value)) is not None:
            self.put("text", text)
        elif not self._add_callable(value):
            self._add_state(value)

    def _add_array(self, value: Any) -> None:
        """Write an array: its mask and other attributes, if it has any, and objects in it."""
        array = np.asarray(value)
        self.put("array", array_digest(array))
        if array.dtype.hasobject:
            self.add(array.tolist())
        if type(value) is not np.ndarray and not isinstance(value, np.generic | np.memmap):
            self.put("object", self._reach.class_digest(type(value)))
            self._add_attributes(vars(value) if hasattr(value, "__dict__") else {})

    def _add_class(self, kind: type) -> None:
        """Write a class that code may make objects of."""
        self.put("class", self._reach.class_digest(kind))
        for base in kind.__mro__:
            if not is_known(base):
                for name in ("__new__", "__init__"):
                    self.add(vars(base).get(name))
        if not is_known(type(kind)):
            self.put("metaclass", self._reach.class_digest(type(kind)))

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
        elif isinstance(value, C_FUNCTIONS):
            self._add_c_function(value)
        elif type(value) is CACHED:
            self.put("wrapped")
            self.add(value.__wrapped__)
        else:
            return False
        return True

    def _add_function(self, function: FunctionType) -> None:
        wrapped = vars(function).get("__wrapped__")
        if is_known_function(function):
            # Not by its own name, which functools.wraps takes from any other function.
            module = function.__globals__.get("__name__")
            name = getattr(function.__code__, "co_qualname", function.__code__.co_name)
            self._reach.note(f"{module}.{name}")
            self.put("known", f"{module}.{name}")
            original = vars(function).get("_torchdynamo_orig_callable")
            if original is not None:
                self.add(original)
                return
            self.add(wrapped)
        else:
            self._reach.meet(function)
            facts = self._reach.facts(function.__code__)
            self.put("function", facts.digest)
            # Without those that it counts its own calls with.
            own = {name: held for name, held in vars(function).items() if name not in facts.stored}
            self._add_attributes(own)
        if "<locals>" in function.__qualname__ or not is_known_function(function):
            self.add(function.__defaults__)
            self.add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self.put("empty cell")

    def _add_c_function(self, value: Any) -> None:
        """Write a function of C by its name, and by the object that it is bound to."""
        module = getattr(value, "__module__", None)
        self.put("builtin", f"{module}.{value.__qualname__}")
        self._reach.note(f"{module}.{value.__qualname__}")
        if module is None:
            self.add(value.__self__ if hasattr(value, "__self__") else value.__objclass__)
        elif not is_known_name(module):
            self._add_version(module, value.__qualname__)

    def _add_version(self, module: str, name: str) -> None:
        """Write the version of an installed package, where code cannot be read."""
        version = version_of(module)
        if version is None:
            self._leave_out(f"{module}.{name}", "of no version")
        else:
            self.put("version", version)

    def _add_module(self, module: nn.Module) -> None:
        """Write a module that is not registered anywhere: in a list, or in a closure."""
        self.put("unregistered", self._reach.class_digest(type(module)))
        self._add_attributes(module_attributes(module, self._reach.stored_attributes(type(module))))
        for table in (module._parameters, module._buffers, module._modules):
            self.put("table", str(len(table)))
            for name, held in table.items():
                if not name.endswith("num_batches_tracked"):
                    self.put("name", name)
                    self.add(held)

    def _add_attributes(self, attributes: Mapping[str, Any]) -> None:
        for name, held in sorted(attributes.items()):
            self.put("attribute", name)
            self.add(held)

    def _add_state(self, value: Any) -> None:
        """Write an object by its class, its content and its attributes."""
        kind = type(value)
        self.put("object", self._reach.class_digest(kind))
        self._reach.note(f"{kind.__module__}.{kind.__qualname__}")
        if isinstance(value, Mapping | list | tuple | set | frozenset | deque):
            self._add_items(value)
        elif isinstance(value, float):
            self.put("float", value.hex())
        elif isinstance(value, int | complex | str | bytes):
            self.put("plain", repr(kind.__mro__[-2](value)))
        if kind in (list, dict, set) or holds_no_constants(kind):
            return
        self._add_attributes(object_state(value))
        content = hidden_content(value)
        if isinstance(content, str):
            module = str(getattr(value, "__module__", None))
            self.put("name", f"{module}.{content}")
            self._reach.note(f"{module}.{content}")
            if not is_known_name(module):
                self._add_version(module, content)
        else:
            self.add(content)
