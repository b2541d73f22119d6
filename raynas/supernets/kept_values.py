"""Every value that a module, or code that it runs, could keep from one call to the next.

A counter need not be a number of the module: it may be in a dictionary, an array, an iterator, a
closure, a class or a Python module. All of these are walked, each value with a way to replace it.
"""

from __future__ import annotations

import functools
import itertools
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from raynas.supernets.attributes import (
    HOOKS,
    class_items,
    has_state,
    is_own_table,
    object_state,
    plain_function,
)
from raynas.supernets.code_facts import CodeFacts, code_facts
from raynas.supernets.known_code import (
    imported_modules,
    is_as_it_came,
    is_known,
    is_known_function,
    is_known_module,
)
from raynas.supernets.object_content import CACHED, holds_no_constants
from raynas.supernets.tensor_digest import array_digest, tensor_digest
from raynas.supernets.unseen_writes import holds_numbers

Put = Callable[[Any], None]
"""Puts another value where one was found."""

NUMBERS = (bool, int, float, complex)
"""Types of numbers that code may count with."""

TEXTS = (type(None), str, bytes)
"""Types of other values that are told apart by `repr`."""

LARGEST = 2**16
"""Elements of a tensor or an array; larger ones are what a forward leaves behind."""

MOST = 20_000
"""Values that are looked at; a table of more is no memory of calls."""

LONG, SHORT = 1000, 100
"""Items of a container, and of a list that an iterator goes through, of which each is looked at."""

DEEPEST = 30
"""Values in one another that are looked at."""


@final
@dataclass(frozen=True)
class Kept:
    """A value at one moment.

    Args:
        content: equal for equal values.
        value: a number, a tensor, an array, an iterator, the items of a list; `None` otherwise.
        put: replaces the value; `None` where nothing else can be put there.
    """

    content: object
    value: Any = None
    put: Put | None = None


def holds_code(module: nn.Module) -> bool:
    """Whether a module holds any code, as hooks are, that is not of torch or this library."""
    return not all(is_as_it_came(type(part)) and holds_numbers(part) for part in module.modules())


def kept_values(module: nn.Module) -> dict[str, Kept]:
    """Everything that a module could remember, by a name.

    Parameters and buffers are left out, and random generators, and what was cached by
    `functools.cache`.

    Args:
        module: stays as it is.
    """
    walk = _Walk(module)
    walk.add("", module, None, 0)
    return walk.found


@final
class _Walk:
    """The walk through everything that can be reached from a module."""

    def __init__(self, module: nn.Module) -> None:
        self.found: dict[str, Kept] = {}
        registered = (*module.parameters(), *module.buffers())
        # Kept alive, since the id of a temporary object may be given to another one.
        self._seen: dict[int, Any] = {id(tensor): tensor for tensor in registered}
        self._named: set[tuple[int, str]] = set()

    def add(self, name: str, value: Any, put: Put | None, depth: int) -> None:
        """Look at a value, and at all that is in it."""
        if len(self.found) >= MOST or depth > DEEPEST:
            return
        kind = type(value)
        if kind in NUMBERS:
            self.found[name] = Kept(repr(value), value, put)
        elif kind in TEXTS:
            self.found[name] = Kept(repr(value))
        elif id(value) not in self._seen:
            self._seen[id(value)] = value
            # Objects of a user raise nearly anything when they are looked at.
            with suppress(Exception):
                self._add_object(name, value, put, depth + 1)

    def _add_object(self, name: str, value: Any, put: Put | None, depth: int) -> None:
        if isinstance(value, Tensor):
            if value.numel() <= LARGEST and value.layout == torch.strided and not value.is_meta:
                self.found[name] = Kept(tensor_digest(value), value, put)
        elif isinstance(value, np.ndarray | np.generic):
            if value.size <= LARGEST and not value.dtype.hasobject:
                self.found[name] = Kept(array_digest(np.asarray(value)), value, put)
        elif isinstance(value, itertools.count):
            self.found[name] = Kept(repr(value), value, put)
        elif isinstance(value, nn.Module):
            self._add_module(name, value, depth)
        elif isinstance(value, dict | list | tuple | deque | set | frozenset):
            self._add_items(name, value, depth)
        elif isinstance(value, type):
            self._add_class(value, depth)
        elif not self._add_callable(name, value, depth):
            self._add_state(name, value, depth)

    def _add_module(self, name: str, module: nn.Module, depth: int) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            return
        self.add(name, type(module), None, depth)
        held = vars(module)
        for attribute in list(held):
            if not is_own_table(attribute) or attribute in HOOKS:
                put = functools.partial(held.__setitem__, attribute)
                self.add(joined(name, attribute), held[attribute], put, depth)
        for child, part in module._modules.items():
            self.add(joined(name, child), part, None, depth)

    def _add_items(self, name: str, value: Any, depth: int) -> None:
        """Look at a container: how much it holds, and each item, unless they are many."""
        grows = type(value) in (list, deque)
        held, put = (list(value), functools.partial(refill, value)) if grows else (None, None)
        if len(value) > LONG:
            self.found[f"{name} (its items)"] = Kept(len(value), held, put)
            return
        if isinstance(value, set | frozenset):
            self.found[f"{name} (its items)"] = Kept((len(value), plain_items(value)))
            return
        keyed = isinstance(value, dict)
        pairs = list(value.items() if keyed else enumerate(value))
        plain = [repr(key) if type(key) in (*NUMBERS, *TEXTS) else "" for key, _ in pairs]
        keys = tuple(plain) if keyed else ()
        self.found[f"{name} (its items)"] = Kept((len(pairs), keys), held, put)
        for place, (key, item) in enumerate(pairs):
            put = None if isinstance(value, tuple) else functools.partial(value.__setitem__, key)
            self.add(f"{name}[{plain[place] or place}]", item, put, depth)
        if has_state(value):
            self._add_state(name, value, depth)

    def _add_class(self, kind: type, depth: int) -> None:
        for base in kind.__mro__:
            if is_known(base) or (id(base), "") in self._named:
                continue
            self._named.add((id(base), ""))
            for name, held in class_items(base):
                function = plain_function(held)
                put = functools.partial(setattr, base, name)
                self.add(f"{base.__name__}.{name}", function or held, put, depth)

    def _add_callable(self, name: str, value: Any, depth: int) -> bool:
        """Look into a function of any kind; whether it was one."""
        if isinstance(value, FunctionType):
            self._add_function(value, depth)
            return True
        parts = {
            MethodType: ("__self__", "__func__"),
            functools.partial: ("func", "args", "keywords"),
            staticmethod: ("__func__",),
            classmethod: ("__func__",),
            CACHED: ("__wrapped__",),
        }.get(type(value), ())
        for part in parts:
            self.add(joined(name, part), getattr(value, part), None, depth)
        return bool(parts)

    def _add_function(self, function: FunctionType, depth: int) -> None:
        name = function.__qualname__
        variables = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for variable, cell in variables:
            with suppress(ValueError):
                put = functools.partial(setattr, cell, "cell_contents")
                self.add(f"{variable} of {name}", cell.cell_contents, put, depth)
        if is_known_function(function):
            return
        for attribute, held in vars(function).items():
            put = functools.partial(setattr, function, attribute)
            self.add(f"{name}.{attribute}", held, put, depth)
        for held in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.add(f"a default of {name}", held, None, depth)
        for module, attributes in names_read(function, code_facts(function.__code__)):
            self._add_along(module, attributes, depth)

    def _add_along(self, names: dict[str, Any], chain: tuple[str, ...], depth: int) -> None:
        """Look at a name of a Python module, or of one that it names, and so on."""
        first, *rest = chain
        value = names.get(first)
        if isinstance(value, ModuleType):
            if rest and not is_known_module(value):
                self._add_along(vars(value), tuple(rest), depth)
        elif first in names and (id(names), first) not in self._named:
            self._named.add((id(names), first))
            put = functools.partial(names.__setitem__, first)
            self.add(f"{first} of module {names.get('__name__')}", value, put, depth)

    def _add_state(self, name: str, value: Any, depth: int) -> None:
        """Look at the attributes of an object, or at how far an iterator has come."""
        kind = type(value)
        if holds_no_constants(kind):
            return
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            self.found[name] = Kept(None if frame is None else frame.f_lasti)
            self.add(f"{name} (its variables)", frame and frame.f_locals, None, depth)
            self.add(f"{name} (behind it)", value.gi_yieldfrom, None, depth)
        elif hasattr(kind, "__next__") and is_known(kind):
            self.found[name] = Kept(position(value))
        elif has_state(value):
            self.add(name, kind, None, depth)
            for attribute, held in object_state(value).items():
                put = functools.partial(object.__setattr__, value, attribute)
                self.add(joined(name, attribute), held, put, depth)


def refill(container: list[Any] | deque[Any], items: list[Any]) -> None:
    """Put items into a list in place of those that it holds."""
    container.clear()
    container.extend(items)


def names_read(
    function: FunctionType, facts: CodeFacts
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Names of Python modules that a function reads, with the attributes behind each."""
    for chain in sorted(facts.chains):
        yield function.__globals__, chain
    for name in sorted(facts.stored_globals):
        yield function.__globals__, (name,)
    for level, module, wanted in sorted(facts.imports):
        found = imported_modules(function, level, module, wanted)
        for each in found if isinstance(found, list) else ():
            for attribute in sorted(facts.attributes & vars(each).keys()):
                yield vars(each), (attribute,)


def position(value: Any) -> object:
    """The place that an iterator has come to: what pickling would write of it, without objects.

    Raises:
        TypeError: one that cannot be pickled.
    """
    if type(value) in (*NUMBERS, *TEXTS):
        return repr(value)
    if isinstance(value, tuple | list):
        # A long list that is gone through does not change itself.
        return len(value), tuple(map(position, value)) if len(value) <= SHORT else ()
    if hasattr(type(value), "__next__"):
        with warnings.catch_warnings():
            # Python 3.12 says of some that 3.14 no longer pickles them.
            warnings.simplefilter("ignore")
            return position(value.__reduce__()[1:])
    return type(value).__name__


def plain_items(value: set[Any] | frozenset[Any]) -> tuple[str, ...]:
    """The items of a set that are numbers or texts, in an order."""
    return tuple(sorted(repr(item) for item in value if type(item) in (*NUMBERS, *TEXTS)))


def joined(name: str, attribute: str) -> str:
    """The name of an attribute of what has a name, or none."""
    return f"{name}.{attribute}" if name else attribute
