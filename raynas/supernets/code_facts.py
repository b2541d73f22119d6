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
    """

    digest: bytes
    globals: frozenset[str]
    attributes: frozenset[str]
    stored: frozenset[str]
    stored_globals: frozenset[str]


@functools.lru_cache(maxsize=4096)
def code_facts(code: CodeType) -> CodeFacts:
    """Read a code object, once: equal ones have equal facts, and modules share their classes."""
    total = hashlib.blake2b(digest_size=16)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    total.update(repr((counts, code.co_varnames[: sum(counts[:3])])).encode())
    names: dict[str, set[str]] = {kind: set() for kind in ("global", "read", "write", "own")}
    for operation, argument in instructions(code):
        total.update(operation.encode() + b" ")
        if isinstance(argument, CodeType):
            inner = code_facts(argument)
            total.update(inner.digest)
            names["global"] |= inner.globals
            names["read"] |= inner.attributes
            names["write"] |= inner.stored
            names["own"] |= inner.stored_globals
            continue
        total.update(constant_bytes(argument))
        if operation in ("LOAD_GLOBAL", "LOAD_NAME"):
            names["global"].add(str(argument))
        elif operation.startswith(("LOAD_ATTR", "LOAD_METHOD")):
            names["read"].add(str(argument))
        elif operation == "STORE_ATTR":
            names["write"].add(str(argument))
        elif operation == "STORE_GLOBAL":
            names["own"].add(str(argument))
    total.update(getattr(code, "co_exceptiontable", b""))
    return CodeFacts(total.digest(), *(frozenset(names[kind]) for kind in names))


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
