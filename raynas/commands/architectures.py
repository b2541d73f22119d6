"""Architectures as a command line gives them: names, indices, or a file that holds one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import raynas
from raynas.errors import require
from raynas.space import Architecture


def is_file(text: str) -> bool:
    """Whether a text names a file that is there."""
    # Names of many blocks are longer than the system lets a path be.
    return os.path.isfile(text)


def architecture_of(supernet: raynas.ChainSupernet, text: str) -> Architecture:
    """The architecture of a supernet that a text names, or that a file holds.

    Args:
        supernet: that has it.
        text: `c7,c5,x` or `2,1,3`; or a file that `raynas.read_architecture` understands.

    Raises:
        InputError: no such file or architecture.
    """
    if is_file(text):
        return raynas.read_architecture(text, supernet)
    require_names(text)
    return supernet.read(text)


def architecture_in(names: Sequence[Sequence[str]], text: str) -> Architecture:
    """The architecture that a text names, or a file holds, by the names of a space alone.

    Without a supernet, the shapes of blocks in a file are not compared, and widths not named.

    Raises:
        InputError: as `architecture_of`, or a file that says the width of each block.
    """
    from raynas.foreign.reading import fitted, read_file
    from raynas.supernets import choice_names

    if is_file(text):
        return fitted(read_file(Path(text)), names, Path(text))
    require_names(text)
    own = tuple(tuple(each) for each in names)
    return choice_names.encode(own, choice_names.split(text))


def require_names(text: str, argument: str = "architecture") -> None:
    """Raise `InputError` for a text that was meant to be a file."""
    require(
        not text.endswith((".json", ".yaml", ".yml", ".config", ".pkl", ".py", ".tar")),
        argument,
        "a file that is there",
        text,
        "Give the architecture.json of an exported subnet, or write names: c3,c5,x.",
    )
