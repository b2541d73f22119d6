"""Files of raynas: `architecture.json` of an export, `result.json` of a search, or a plain list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raynas.errors import is_whole
from raynas.foreign.found import Found, NotUnderstoodError, shown

NAMES, INDICES = "names", "architecture"


def is_own(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is the description of an architecture."""
    return INDICES in content or NAMES in content


def read(content: Mapping[str, Any] | list[Any]) -> Found:
    """The architecture of a description; its names say the same in every space that has them.

    Raises:
        NotUnderstoodError: no list of names or indices.
    """
    listed, indices = content, None
    if isinstance(content, Mapping):
        told = [content[name] for name in (NAMES, INDICES) if content.get(name)]
        listed = told[0] if told else []
        if len({len(each) for each in told if isinstance(each, list)}) > 1:
            raise NotUnderstoodError("names and indices of two different numbers of blocks")
        if len(told) > 1 and isinstance(told[1], list):
            indices = tuple(told[1])
    if not isinstance(listed, list) or not listed:
        raise NotUnderstoodError("no list of choices")
    for each in listed:
        if not isinstance(each, str) and not is_whole(each):
            raise NotUnderstoodError(f"{shown(each)}, which is no choice of a block")
    return Found("an architecture", tuple(listed), indices=indices)
