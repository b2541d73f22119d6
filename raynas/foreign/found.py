"""`Found`: an architecture as a file of another project says it, in the names of this library."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from raynas.errors import is_whole

DIGITS = 6
"""The most digits that the number of a stage or a block has."""


@final
class NotUnderstoodError(Exception):
    """A file that a project would not have written so, or that says what no supernet has."""


class BlockShape(NamedTuple):
    """The channels that a block gets and gives, and its stride."""

    inputs: int
    outputs: int
    stride: int


@final
@dataclass(frozen=True)
class Found:
    """An architecture that a file says.

    Args:
        format: of the file, in words.
        choices: of each block, shallowest first: a name of this library's families, or an index.
        words: the choices as the file has them, which a supernet of one's own may have, too.
        shapes: of each block, if the file says them.
        middles: channels inside the main branch of each block, if the file says them.
        indices: of each block's choice, if the file says them beside its name.
    """

    format: str
    choices: tuple[str | int, ...]
    words: tuple[Any, ...] = ()
    shapes: tuple[BlockShape, ...] | None = None
    middles: tuple[int, ...] | None = None
    indices: tuple[Any, ...] | None = None


def bottleneck(expansion: Any, kernel: Any, *, se: bool = False) -> str:
    """The name of an inverted bottleneck in this library.

    Raises:
        NotUnderstoodError: an expansion or a kernel that is no whole number.
    """
    for value in (expansion, kernel):
        if not is_whole(value):
            raise NotUnderstoodError(f"expansion {shown(expansion)} and kernel {shown(kernel)}")
    return f"e{expansion}k{kernel}{'se' if se else ''}"


def shown(value: Any) -> str:
    """A value of a file in few characters, however often it holds itself or another."""
    return reprlib.repr(value)


def number(digits: str, place: str) -> int:
    """The number of a label.

    Raises:
        NotUnderstoodError: one that no space has.
    """
    if len(digits) > DIGITS:
        raise NotUnderstoodError(f"a number of {len(digits)} digits in {place}")
    return int(digits)


def part(content: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    """An entry of a file.

    Raises:
        NotUnderstoodError: there is none of this kind.
    """
    value = content.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        told = "no" if name not in content else shown(value)
        raise NotUnderstoodError(f"{told} {name} in {place}")
    return value
