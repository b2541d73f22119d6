"""A function's code as a value: its instructions and constants, without its place and name."""

from __future__ import annotations

import dis
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, final

UNUSED = frozenset(("EXTENDED_ARG", "CACHE", "NOP", "RESUME"))
"""Instructions that compute nothing."""


FILLING = frozenset(("append", "add", "setdefault", "update", "pop", "insert", "extend", "clear"))
"""Methods by which code changes a container."""


@final
@dataclass(frozen=True)
class CodeFacts:
    """Facts about a code object, the functions defined in it included.

    Args:
        digest: of instructions, constants and arguments; not of line numbers and docstrings.
        globals: names that it reads from its module.
        attributes: names that it reads from any object.
        stored: names of attributes that it writes.
        stored_globals: names that it writes in its module.
        chains: names of its module with the attributes that are read one from the other behind
            them, as `("package", "module", "function")`.
        imports: levels and names of modules that it imports as it runs, and what it wants of them.
        fills: whether it may change a container.
    """

    digest: bytes
    globals: frozenset[str]
    attributes: frozenset[str]
    stored: frozenset[str]
    stored_globals: frozenset[str]
    chains: frozenset[tuple[str, ...]]
    imports: frozenset[tuple[int, str, tuple[str, ...]]]
    fills: bool


@final
class _Names:
    """Names that are collected from instructions one after the other."""

    def __init__(self) -> None:
        self.globals: set[str] = set()
        self.attributes: set[str] = set()
        self.stored: set[str] = set()
        self.stored_globals: set[str] = set()
        self.chains: set[tuple[str, ...]] = set()
        self.imports: set[tuple[int, str, tuple[str, ...]]] = set()
        self.fills = False
        self._chain: tuple[str, ...] = ()
        self._constants: list[Any] = [0, 0]

    def take(self, operation: str, argument: Any) -> None:
        """Look at the next instruction."""
        attribute = operation.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER", "IMPORT_FROM"))
        if self._chain and not attribute:
            self.chains.add(self._chain)
            self._chain = ()
        if attribute:
            self.attributes.add(str(argument))
            self._chain = (*self._chain, str(argument)) if self._chain else ()
        elif operation in ("LOAD_GLOBAL", "LOAD_NAME"):
            # No source has names with an @: they are those of pytest's assertions, behind which
            # lies the whole session.
            if not str(argument).startswith("@"):
                self.globals.add(str(argument))
                self._chain = (str(argument),)
        elif operation == "IMPORT_NAME":
            # The level and the names wanted were loaded just before.
            level, wanted = self._constants
            self.imports.add((int(level or 0), str(argument), wanted or ()))
        elif operation == "STORE_ATTR":
            self.stored.add(str(argument))
        elif operation == "STORE_GLOBAL":
            self.stored_globals.add(str(argument))
        elif operation in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            self.fills = True
        if operation.startswith("LOAD_CONST") or operation == "LOAD_SMALL_INT":
            self._constants = [self._constants[1], argument]

    def include(self, inner: CodeFacts) -> None:
        """Add what a function defined in this one reads and writes."""
        self.globals |= inner.globals
        self.attributes |= inner.attributes
        self.stored |= inner.stored
        self.stored_globals |= inner.stored_globals
        self.chains |= inner.chains
        self.imports |= inner.imports
        self.fills |= inner.fills

    def facts(self, digest: bytes) -> CodeFacts:
        """Everything that was collected."""
        return CodeFacts(
            digest,
            frozenset(self.globals),
            frozenset(self.attributes),
            frozenset(self.stored),
            frozenset(self.stored_globals),
            frozenset(self.chains),
            frozenset(self.imports),
            self.fills or bool(FILLING & self.attributes),
        )


@functools.lru_cache(maxsize=4096)
def code_facts(code: CodeType) -> CodeFacts:
    """Read a code object, once: equal ones have equal facts, and modules share their classes."""
    total = hashlib.blake2b(digest_size=16)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    total.update(repr((counts, code.co_varnames[: sum(counts[:3])])).encode())
    names = _Names()
    for operation, argument in instructions(code):
        total.update(operation.encode() + b" ")
        if isinstance(argument, CodeType):
            inner = code_facts(argument)
            total.update(inner.digest)
            names.include(inner)
            continue
        total.update(constant_bytes(argument))
        names.take(operation, argument)
    total.update(getattr(code, "co_exceptiontable", b""))
    return names.facts(total.digest())


def instructions(code: CodeType) -> Iterator[tuple[str, Any]]:
    """Name and argument of each instruction, but for the text and place of nested classes."""
    listed = [(i.opname, i.argval) for i in dis.get_instructions(code) if i.opname not in UNUSED]
    for (operation, argument), (after, name) in zip(listed, [*listed[1:], ("", "")], strict=True):
        if after == "STORE_NAME" and name in ("__doc__", "__firstlineno__"):
            continue
        yield operation, argument


def constant_bytes(value: Any) -> bytes:
    """A constant of code as bytes, the same in every process: sets have no order there."""
    if isinstance(value, float):
        return f"float {value.hex()};".encode()
    if isinstance(value, frozenset):
        return b"set(" + b"".join(sorted(map(constant_bytes, value))) + b")"
    if isinstance(value, tuple):
        return b"tuple(" + b"".join(map(constant_bytes, value)) + b")"
    if value is None or isinstance(value, bool | int | complex | str | bytes | slice):
        return f"{type(value).__name__} {value!r};".encode()
    return f"{type(value).__name__};".encode()
