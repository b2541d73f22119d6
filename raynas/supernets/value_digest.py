"""Digests of Python values that are the same in every process: attributes, functions, classes."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, final

from torch import nn

from raynas.supernets.attributes import (
    class_items,
    has_state,
    is_constant,
    is_known,
    is_known_name,
    object_state,
    plain_function,
)
from raynas.supernets.code_facts import CodeFacts, code_facts
from raynas.supernets.value_walk import PLAIN, ValueWalk
from raynas.task import Classification, Task

MOST_REACHED = 4_000
"""The largest number of functions and classes that are read."""


@final
class Reach:
    """Functions and classes that have been met, and what these name in their modules.

    Args:
        names: of the registered modules and tensors by `id`, which stand for them in values.
        caches: whether containers in Python modules may be caches, which are not read; otherwise
            all are taken for constants.
    """

    def __init__(self, names: Mapping[int, str], *, caches: bool = True) -> None:
        self.names = names
        self._caches = caches
        self._codes: dict[CodeType, CodeFacts] = {}
        self._classes: dict[type, bytes] = {}
        self._met: dict[int, Any] = {}
        self._pending: deque[Any] = deque()
        self.referred: set[str] = set()
        """The names of registered modules and tensors that values have referred to."""

    def digest(self, value: Any) -> bytes:
        """The digest of one value and all that is in it; called code is left to `reached`."""
        walk = ValueWalk(self)
        walk.add(value)
        return walk.total.digest()

    def facts(self, code: CodeType) -> CodeFacts:
        """The facts about a code object, which is read once."""
        if code not in self._codes:
            self._codes[code] = code_facts(code)
        return self._codes[code]

    def meet(self, item: Any) -> None:
        """Remember a function or a class, to look at what it names."""
        if id(item) not in self._met and len(self._met) < MOST_REACHED:
            self._met[id(item)] = item
            self._pending.append(item)

    def reached(self) -> frozenset[bytes]:
        """The digests of all that functions and classes met so far name, and of what these name."""
        found: set[bytes] = set()
        while self._pending:
            item = self._pending.popleft()
            found.update(self._of_class(item) if isinstance(item, type) else self._of_code(item))
        return frozenset(found)

    def class_digest(self, kind: type) -> bytes:
        """The digest of a class: the name of a known one, the code and constants of another."""
        if kind not in self._classes:
            total = hashlib.blake2b(digest_size=16)
            for base in kind.__mro__:
                if is_known(base):
                    total.update(f"{base.__qualname__};{base.__module__};".encode())
                    continue
                # Not by its full name: a class that travelled by value has lost it.
                total.update(f"{base.__name__};".encode())
                self.meet(base)
                for name, value in class_items(base):
                    function = plain_function(value)
                    if function is not None:
                        total.update(name.encode() + self.facts(function.__code__).digest)
                    elif isinstance(value, (*PLAIN, float)):
                        total.update(f"{name} {type(value).__name__} {value!r};".encode())
            self._classes[kind] = total.digest()
        return self._classes[kind]

    def stored_attributes(self, kind: type) -> frozenset[str]:
        """Names of attributes that methods of a class write, but for its constructor."""
        stored: frozenset[str] = frozenset()
        for base in kind.__mro__:
            if not is_known(base):
                for _, value in class_items(base):
                    function = plain_function(value)
                    if function is not None:
                        stored |= self.facts(function.__code__).stored
        return stored

    def _of_class(self, kind: type) -> Iterable[bytes]:
        for name, value in class_items(kind):
            yield f"{kind.__name__}.{name} ".encode() + self.digest(value)

    def _of_code(self, function: FunctionType) -> Iterable[bytes]:
        facts = self.facts(function.__code__)
        for name in sorted(facts.globals - facts.stored_globals):
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            label = facts.digest + name.encode() + b" "
            if isinstance(value, ModuleType) or has_state(value):
                if isinstance(value, ModuleType) and is_known_name(value.__name__):
                    continue
                # Of a module or a settings object, only what the function can be seen to use.
                held_by = vars(value) if isinstance(value, ModuleType) else object_state(value)
                for attribute in sorted(facts.attributes):
                    held = held_by.get(attribute)
                    if held is not None and not isinstance(held, ModuleType):
                        yield label + attribute.encode() + self.digest(held)
            elif not self._caches or is_constant(value):
                yield label + self.digest(value)


def registered_names(supernet: nn.Module) -> dict[int, str]:
    """The first name of every module, parameter and buffer, by `id`."""
    names: dict[int, str] = {}
    for name, module in supernet.named_modules():
        names.setdefault(id(module), f"module {name}")
    for name, tensor in (*supernet.named_parameters(), *supernet.named_buffers()):
        names.setdefault(id(tensor), name)
    return names


def value_digest(value: Any) -> str:
    """The digest of one value and of all code that it can be seen to call, 32 hexadecimal digits.

    Args:
        value: a function, or an object such as a task; the same value in another process gives the
            same digest.
    """
    # Nobody runs it on examples, so that a table of a thousand class weights must be read.
    reach = Reach({}, caches=False)
    own = reach.digest(value)
    return hashlib.blake2b(b"".join([own, *sorted(reach.reached())]), digest_size=16).hexdigest()


def identity_of_task(task: Task) -> dict[str, Any]:
    """A task as a JSON object that changes with the code of its function."""
    described = task.description()
    return (
        described if isinstance(task, Classification) else {**described, "code": value_digest(task)}
    )
