"""Which single paths of the supernet one training step updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.costs import Budget
from raynas.errors import require
from raynas.space import Architecture, SearchSpace


class PathSampler(ABC):
    """Draws the architectures whose gradients are summed in one training step."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """The single paths of one step, at least one, from this generator alone."""

    def describe(self) -> str:
        """What a training checkpoint remembers, so that it is not resumed with other paths."""
        return type(self).__name__


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
    """One path a step, uniform over the architectures within a budget (SPOS, section 3.2).

    Paths are drawn until one is legal. When `tries` draws in a row are not, the step takes the
    first legal one of a random depth-first walk instead, which favours rare prefixes.

    Args:
        space: the supernet's search space.
        budget: what a path may cost.
        tries: how many draws to allow.

    Raises:
        InputError: nothing is within the budget, or `tries` is below 1.
    """

    space: SearchSpace
    budget: Budget
    tries: int = 100

    def __post_init__(self) -> None:
        require(self.tries >= 1, "tries", "at least 1", self.tries, "Allow some draws.")
        self.budget.require_feasible()

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One legal architecture."""
        for _ in range(self.tries):
            path = self.space.sample(rng)
            if self.budget.allows(path):
                return (path,)
        return (next(self.budget.enumerate((), rng)),)

    def describe(self) -> str:
        """The limit, and what it limits."""
        return f"{type(self).__name__}({self.budget.table.name} at most {self.budget.at_most})"
