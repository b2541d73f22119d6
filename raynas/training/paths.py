"""Drawing the single paths of the supernet that one training step updates."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.costs import Limits
from raynas.errors import require
from raynas.space import Architecture, SearchSpace

PLAIN = (bool, int, float, str, type(None))
"""Types whose values say themselves what they are."""


class PathSampler(ABC):
    """Draws the architectures whose gradients are summed in one training step."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """The single paths of one step, at least one, from this generator alone."""

    def terms(self) -> str:
        """Text that a training checkpoint records, so that it is not resumed with other paths.

        By default the name of the class, and its public attributes that are numbers or texts.
        """
        shown = [
            f"{name}={value!r}"
            for name, value in sorted(getattr(self, "__dict__", {}).items())
            if not name.startswith("_") and isinstance(value, PLAIN)
        ]
        return type(self).__name__ + (f"({', '.join(shown)})" if shown else "")


@final
@dataclass(frozen=True)
class UniformPaths(PathSampler):
    """One path a step, each choice of each block equally likely (SPOS, section 3.2).

    Args:
        space: the supernet's search space.
    """

    space: SearchSpace

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One architecture, uniform over the space."""
        return (self.space.sample(rng),)


@final
@dataclass(frozen=True)
class UniformConstraintPaths(PathSampler):
    """One path a step, uniform over the architectures within limits (SPOS, section 3.2).

    Paths are drawn from the space until one is legal. When `tries` draws in a row are not, the step
    takes one of `Limits.draw` instead, which is as uniform and finds them however few they are, but
    has more to prepare.

    Args:
        space: the supernet's search space.
        limits: on the costs of its architectures.
        tries: how many draws from the space to allow.

    Raises:
        InputError: the limits are those of another space, nothing is legal, or `tries` is below 1.
    """

    space: SearchSpace
    limits: Limits
    tries: int = 100

    def __post_init__(self) -> None:
        require(self.tries >= 1, "tries", "at least 1", self.tries, "Allow some draws.")
        require(
            self.limits.space == self.space,
            "limits",
            f"limits on {list(self.space.choices)} choices per block",
            list(self.limits.space.choices),
            "Build the limits from the supernet that is trained.",
        )
        self.limits.require_feasible()

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One legal architecture."""
        for _ in range(self.tries):
            path = self.space.sample(rng)
            if self.limits.allows(path):
                return (path,)
        return (next(self.limits.draw((), rng)),)

    def terms(self) -> str:
        """The limits, with the digests of their tables."""
        return f"{type(self).__name__}({json.dumps(self.limits.description())})"
