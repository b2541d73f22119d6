"""The search space of a chain of choice blocks, and architectures as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import index
from typing import final

import numpy as np

from raynas.errors import InputError, require

Architecture = tuple[int, ...]
"""One choice index per block, shallowest block first. A prefix is a shorter one."""


@final
@dataclass(frozen=True)
class SearchSpace:
    """The number of choices that each block offers, shallowest block first.

    Args:
        choices: the number of choices of each block, all at least 1.

    Raises:
        InputError: no blocks, or a block without choices.
    """

    choices: tuple[int, ...]

    def __post_init__(self) -> None:
        require(
            len(self.choices) > 0 and all(n >= 1 for n in self.choices),
            "choices",
            "at least one block with at least one choice each",
            self.choices,
            "Give every block a non-empty list of choices.",
        )

    @property
    def blocks(self) -> int:
        """The number of choice blocks."""
        return len(self.choices)

    def count(self, prefix: Architecture = ()) -> int:
        """The exact number of architectures that start with `prefix`."""
        return prod(self.choices[len(prefix) :])

    def validate(self, architecture: Sequence[int], argument: str = "architecture") -> Architecture:
        """Return the architecture as a tuple of ints.

        Raises:
            InputError: wrong length, or a choice that its block does not have.
        """
        values = as_choices(architecture, argument)
        require(
            len(values) == self.blocks,
            argument,
            f"{self.blocks} choices, one per block",
            f"{len(values)}: {list(values)}",
            "Give one choice index for each block, shallowest first.",
        )
        self.validate_prefix(values, argument)
        return values

    def validate_prefix(self, prefix: Sequence[int], argument: str = "prefix") -> Architecture:
        """Return the prefix (any length up to the number of blocks) as a tuple of ints.

        Raises:
            InputError: too long, or a choice that its block does not have.
        """
        values = as_choices(prefix, argument)
        require(
            len(values) <= self.blocks,
            argument,
            f"at most {self.blocks} choices",
            len(values),
            "Shorten it to the number of blocks.",
        )
        for block, (choice, choices) in enumerate(zip(values, self.choices, strict=False)):
            require(
                0 <= choice < choices,
                argument,
                f"a choice from 0 to {choices - 1} for block {block}",
                choice,
                "Choice indices count from 0.",
            )
        return values

    def sample(self, rng: np.random.Generator, prefix: Architecture = ()) -> Architecture:
        """Draw one architecture uniformly among those that start with `prefix`."""
        suffix = rng.integers(0, np.asarray(self.choices[len(prefix) :], dtype=np.int64))
        return prefix + tuple(int(choice) for choice in suffix)

    def enumerate(self, prefix: Architecture = ()) -> Iterator[Architecture]:
        """All architectures that start with `prefix`, in lexicographic order."""
        for suffix in product(*(range(n) for n in self.choices[len(prefix) :])):
            yield prefix + suffix


def as_choices(values: Sequence[int], argument: str) -> Architecture:
    """Integers (numpy's included) as a tuple of ints.

    Raises:
        InputError: something that is not an integer.
    """
    try:
        return tuple(index(value) for value in values)
    except TypeError:
        raise InputError(
            argument, "a sequence of integers", repr(values), "Give one choice index per block."
        ) from None


def starting_with(prefix: Architecture, architecture: Sequence[int]) -> Architecture:
    """Return the architecture as a tuple of ints.

    Raises:
        InputError: it does not start with the prefix.
    """
    values = as_choices(architecture, "architecture")
    require(
        values[: len(prefix)] == tuple(prefix),
        "architecture",
        f"one that starts with the frozen prefix, {list(prefix)}",
        list(values),
        "Score it where nothing is frozen, or behind a prefix of it.",
    )
    return values


def encode(architecture: Architecture) -> str:
    """The text form of an architecture: `"2,1,0"`."""
    return ",".join(str(choice) for choice in architecture)


def decode(text: str) -> Architecture:
    """Read the text form of an architecture.

    Raises:
        InputError: something between the commas is not an integer.
    """
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(","))
    except ValueError:
        raise InputError(
            "architecture", "integers separated by commas", repr(text), "Write it as 2,1,0,3."
        ) from None
