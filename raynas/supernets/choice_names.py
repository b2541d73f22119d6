"""Short names of choices, by which people read and write architectures."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from torch import nn

from raynas.errors import InputError, is_whole, require
from raynas.space import Architecture

Names = tuple[tuple[str, ...], ...]
"""The names of the choices of each block."""

SHORT = re.compile(r"[A-Za-z_][\w.@+/-]{0,31}")
"""A name: no number, so that no index is taken for one, and no comma, so that lists can be read."""


INDEX = re.compile("[0-9]{1,9}")
"""An index as a text; no block has so many choices that it would be longer."""

BETWEEN = re.compile(r"\s*,\s*|\s+")
"""Separators of the choices of an architecture in a text."""


def require_names(names: Sequence[Sequence[str]], choices: Sequence[int]) -> Names:
    """The given names as tuples, if every choice has a short one of its own.

    Args:
        names: of the choices of each block.
        choices: their numbers.

    Raises:
        InputError: another number of blocks or choices, a name that two choices of a block have,
            or one that is no short text.
    """
    listed = [list(each) if not isinstance(each, str) else each for each in names]
    require(
        len(listed) == len(choices),
        "names",
        f"a list of names for each of the {len(choices)} blocks",
        f"{len(listed)} lists",
        "Write names=[['a', 'b'], ['a', 'b']].",
    )
    for block, (own, count) in enumerate(zip(listed, choices, strict=True)):
        argument = f"names[{block}]"
        require(
            isinstance(own, list) and len(own) == count,
            argument,
            f"{count} names, one for each choice",
            own,
            "Name every choice of the block.",
        )
        for name in own:
            require(
                isinstance(name, str) and SHORT.fullmatch(name) is not None,
                argument,
                "a letter, then up to 31 letters, digits and _ . @ + / -",
                repr(name),
                "Shorten the name.",
            )
        require(
            len(set(own)) == count,
            argument,
            "names that differ within a block",
            own,
            "Give each choice a name of its own.",
        )
    return tuple(tuple(own) for own in listed)


def derive_names(choices: Iterable[nn.Module]) -> tuple[str, ...]:
    """Names for the choices of a block: their classes, numbered where one comes several times."""
    kinds = [type(choice).__name__.lower() for choice in choices]
    shared = {kind for kind, count in Counter(kinds).items() if count > 1}
    met: Counter[str] = Counter()
    found = []
    for kind in kinds:
        found.append(f"{kind}_{met[kind]}" if kind in shared else kind)
        met[kind] += 1
    # A class may be called as another one is numbered, or longer than a name.
    if len(set(found)) < len(found) or not all(map(SHORT.fullmatch, found)):
        return tuple(f"choice_{index}" for index in range(len(found)))
    return tuple(found)


def encode(names: Names, chosen: Iterable[str | int]) -> Architecture:
    """The architecture of one name, or index, for each block.

    Raises:
        InputError: something else than a list, another number of blocks, or a choice that its block
            does not have.
    """
    ordered = isinstance(chosen, Iterable) and not isinstance(chosen, str | bytes | Set | Mapping)
    listed = list(chosen) if ordered else []
    require(
        ordered and len(listed) == len(names),
        "architecture",
        f"{len(names)} choices, one per block",
        f"{len(listed)}: {listed}" if ordered else repr(chosen),
        "Name one choice of each block, shallowest first.",
    )
    found = zip(names, listed, strict=True)
    return tuple(index_of(block, own, choice) for block, (own, choice) in enumerate(found))


def split(text: str) -> list[str]:
    """The names, or indices, that a text lists between commas or spaces.

    Raises:
        InputError: no text.
    """
    remedy = "Write it as c7,c5,c3,x, or as 2,1,0,3."
    require(isinstance(text, str), "architecture", "a text", repr(text), remedy)
    return BETWEEN.split(text.strip())


def index_of(block: int, names: Sequence[str], choice: str | int) -> int:
    """The index of a choice that is given by its name or its index.

    Raises:
        InputError: the block has no such choice.
    """
    if isinstance(choice, str) and choice in names:
        return names.index(choice)
    number = isinstance(choice, str) and INDEX.fullmatch(choice) is not None
    if (number or is_whole(choice)) and 0 <= int(choice) < len(names):
        return int(choice)
    raise InputError(
        "architecture",
        f"for block {block} one of {', '.join(names)}, or an index from 0 to {len(names) - 1}",
        reprlib.repr(choice),
        "Choose one that the block has.",
    )


def decode(names: Names, architecture: Architecture) -> tuple[str, ...]:
    """The names of an architecture's, or a prefix's, choices."""
    return tuple(own[choice] for own, choice in zip(names, architecture, strict=False))
