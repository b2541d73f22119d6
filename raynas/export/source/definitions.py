"""Imports, functions and constants that the methods of modules use, as source."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any, final

from torch import nn

from raynas.export.source.expressions import CannotBeWrittenError, written
from raynas.export.source.running_code import (
    LAMBDA,
    global_names,
    require_running_class,
    require_running_code,
)
from raynas.supernets.known_code import is_known, is_known_function, is_known_module

HOMES = ("torch", "torch.nn", "torch.nn.functional")
"""Modules that functions of torch are looked for in, which may not say where they belong."""


@final
class Definitions:
    """Everything at the top of a source file that lifted code refers to by its names.

    Args:
        taken: names that the file defines itself.
    """

    def __init__(self, taken: Mapping[str, object]) -> None:
        self.imports: set[str] = set()
        self.pieces: dict[str, str] = {}
        self._known: dict[str, object] = dict(taken)

    def resolve(self, function: Callable[..., Any], text: str, own: type | None = None) -> None:
        """Define what a function refers to.

        Args:
            function: whose module says what its names mean.
            text: its source.
            own: the class that it is a method of, which the file defines.

        Raises:
            CannotBeWrittenError: a name that stands for something that no source can stand for, or
                for two things.
        """
        plain = inspect.unwrap(function)
        assert isinstance(plain, FunctionType)
        outer = [name for name in plain.__code__.co_freevars if name != "__class__"]
        if outer:
            raise CannotBeWrittenError(f"uses {outer[0]} of the function around its class")
        require_running_code(plain, text)
        meanings = plain.__globals__
        told = {name: value for name, value in meanings.items() if value is not own}
        self.resolve_names(text, told)
        # A name may be bound in one place of the text, and looked up in another.
        for name in global_names(plain.__code__):
            if name in told:
                self.define(name, told[name])

    def resolve_names(self, text: str, meanings: Mapping[str, Any]) -> None:
        """Define the free names of a source text, as far as they mean anything.

        Those that mean nothing stand in annotations alone; else the file would be seen to fail.
        """
        for name in free_names(text):
            own = getattr(builtins, name, None)
            if name in meanings and meanings[name] is not own:
                self.define(name, meanings[name])
            elif own is not None and self._known.setdefault(name, own) is not own:
                raise CannotBeWrittenError(f"uses Python's {name}, and other code another one")

    def define(self, name: str, value: Any) -> None:
        """Define a name.

        Raises:
            CannotBeWrittenError: as `resolve`.
        """
        if name in self._known:
            if self._known[name] is not value:
                told = f"uses a {name} that is not the {name} of other code"
                raise CannotBeWrittenError(refers(name) if is_module(value) else told)
            return
        self._known[name] = value
        line = import_of(name, value)
        if line is not None:
            self.imports.add(line)
        elif isinstance(value, FunctionType):
            self.pieces[name] = self._function(name, value)
        elif isinstance(value, type):
            if is_module(value):
                raise CannotBeWrittenError(refers(name))
            text = source_of(value)
            require_running_class(value)
            self.resolve_names(text, vars(sys.modules[value.__module__]))
            self.pieces[name] = text
        elif type(value).__module__ not in ("types", "typing"):
            # Aliases of types stand in annotations alone.
            try:
                self.pieces[name] = f"{name} = {written(value)}\n"
            except CannotBeWrittenError:
                kind = type(value).__name__
                raise CannotBeWrittenError(f"uses {name}, a {kind} of its file") from None

    def claim(self, name: str) -> bool:
        """Keep a name for a class of modules; whether nothing else has it."""
        return self._known.setdefault(name, own := object()) is own

    def _function(self, name: str, value: FunctionType) -> str:
        """The source that gives a name the meaning of a function, which may be called otherwise."""
        text, own = source_of(value), value.__name__
        if own == LAMBDA and not re.match(rf"{name}\s*(:[^=]*)?=\s*lambda\b", text):
            raise CannotBeWrittenError(f"uses {name}, a function without a name of its own")
        if own not in (name, LAMBDA):
            self.define(own, value)
            return f"{name} = {own}\n"
        self.resolve(value, text)
        return text


def is_module(value: Any) -> bool:
    """Whether a value is a class of modules."""
    return isinstance(value, type) and issubclass(value, nn.Module)


def refers(name: str) -> str:
    """The reason why code that names a class of modules is not written."""
    return f"refers to the module {name} in its code"


def source_of(value: Any) -> str:
    """The source of a function or a class, as if it stood at the beginning of lines.

    Raises:
        CannotBeWrittenError: it is in no file.
    """
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error:
        name = getattr(value, "__name__", repr(value))
        raise CannotBeWrittenError(f"needs the source of {name}, which is in no file") from error


def free_names(text: str) -> list[str]:
    """The names that a source text reads and does not bind itself, in order."""
    tree = ast.parse(text)
    bound: set[str] = set()
    read: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read[node.id] = None
            else:
                bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            bound.add(node.name or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(each.asname or each.name).partition(".")[0] for each in node.names}
    return [name for name in read if name not in bound]


def import_of(name: str, value: Any) -> str | None:
    """The line that imports a value of torch or of Python; `None` for any other value.

    Raises:
        CannotBeWrittenError: a module of another package.
    """
    if isinstance(value, ModuleType):
        if not (is_at_hand(value.__name__) and is_known_module(value)):
            raise CannotBeWrittenError(f"uses {value.__name__}, which is not of torch")
        parent, _, last = value.__name__.rpartition(".")
        if not parent:
            return f"import {last}" if last == name else f"import {last} as {name}"
        return imported(parent, last, name)
    own = getattr(value, "__name__", None)
    if not isinstance(own, str) or isinstance(value, nn.Module):
        return None
    # Some people put functions of their own into torch.
    foreign = isinstance(value, FunctionType) and not is_known_function(value)
    if foreign or (isinstance(value, type) and not is_known(value)):
        return None
    told = getattr(value, "__module__", None)
    for home in (*([told] if isinstance(told, str) else []), *HOMES):
        if is_at_hand(home) and getattr(importlib.import_module(home), own, None) is value:
            return imported(home, own, name)
    return None


def imported(home: str, own: str, name: str) -> str:
    """A line that imports something from a module under a name."""
    return f"from {home} import {own}" + ("" if own == name else f" as {name}")


def is_at_hand(module: str) -> bool:
    """Whether a module is there wherever torch is."""
    top = module.partition(".")[0]
    return top == "torch" or (top in sys.stdlib_module_names and top != "__main__")
