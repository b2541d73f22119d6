"""Drawing the single paths of the supernet that one training step updates."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, final

import numpy as np

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import is_whole, require
from raynas.space import Architecture, SearchSpace

PLAIN = (bool, int, float, str, type(None))
"""Types whose values say themselves what they are."""

logger = logging.getLogger("raynas")


class PathSampler(ABC):
    """Draws the architectures whose gradients are summed in one training step."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """The single paths of one step, at least one, from this generator alone."""

    def begin(self, steps: int) -> None:  # noqa: B027
        """Look at the length of the training that is about to begin, or to go on.

        What an earlier training of the same object left in it must be forgotten; `restore` follows
        where a training goes on.

        Args:
            steps: of the whole training, if no `finished` ends it before.

        Raises:
            InputError: a plan that needs more of them.
        """

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

    def state(self) -> dict[str, Any]:
        """Everything that was learned so far, as a JSON object for checkpoints."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            InputError: the state of a sampler of another kind.
        """
        require(not state, "checkpoint", "no state of a sampler", sorted(state), "Use its own.")

    @property
    def finished(self) -> bool:
        """Whether the training may end after this epoch."""
        return False


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
class LegalPaths(PathSampler):
    """One path a step, uniform over the architectures within limits.

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
        require_tries(self.tries)
        require_of_space(self.limits, self.space)
        self.limits.require_feasible()

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One legal architecture."""
        return (draw_within(self.limits, self.space, self.tries, rng),)

    def terms(self) -> str:
        """The limits, with the digests of their tables, and the tries."""
        return f"{type(self).__name__}({json.dumps(self.limits.description())}, {self.tries})"


@final
@dataclass(frozen=True)
class UniformConstraintPaths(PathSampler):
    """One path a step, uniform over a cost (SPOS, section 3.2, figure 2).

    Drawn uniformly, most paths cost about the mean; a supernet that serves several limits should
    know cheap and dear ones as well. The range of costs is cut into equal bins; each step draws a
    bin, all that hold an architecture being equally likely, and then one of its architectures.
    SPOS does not say how it draws them; here, as in `LegalPaths`, `tries` draws from the space come
    before those that find the rarest.

    Args:
        space: the supernet's search space.
        cost: the cost of its architectures.
        limits: which architectures are legal; all if `None`.
        bins: into how many the range from the cheapest to the dearest is cut.
        tries: how many draws from the space to allow.

    Raises:
        InputError: a cost or limits of another space, nothing is legal, bounds so narrow that it
            can be told of no bin, or `bins` or `tries` is below 1.
    """

    space: SearchSpace
    cost: CostTable
    limits: Limits | None = None
    bins: int = 10
    tries: int = 100
    _bins: tuple[Limits, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_tries(self.tries)
        require(
            is_whole(self.bins) and self.bins >= 1, "bins", "at least 1", repr(self.bins), "Use 10."
        )
        limits = Limits(self.space, ()) if self.limits is None else self.limits
        require_of_space(limits, self.space)
        limits.require_feasible()
        object.__setattr__(self, "_bins", cost_bins(limits, self.cost, self.bins))

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One architecture of a bin."""
        limits = self._bins[int(rng.integers(len(self._bins)))]
        return (draw_within(limits, self.space, self.tries, rng),)

    def terms(self) -> str:
        """The bins, with the digests of their tables, and the tries."""
        described = [limits.description() for limits in self._bins]
        return f"{type(self).__name__}({json.dumps(described)}, {self.tries})"


@final
@dataclass(frozen=True)
class FairPaths(PathSampler):
    """As many paths a step as blocks have choices, each choice once (FairNAS, strict fairness).

    A permutation of its choices is drawn for each block; path k takes the k-th of every block. The
    gradients of all paths are summed before the weights change, so that after every step each
    choice of each block has been updated equally often.

    Args:
        space: the supernet's search space; its blocks have equally many choices.

    Raises:
        InputError: blocks with different numbers of choices, among which no step can be fair.
    """

    space: SearchSpace

    def __post_init__(self) -> None:
        counts = sorted(set(self.space.choices))
        require(
            len(counts) == 1,
            "space",
            "blocks with equally many choices",
            f"blocks with {' and '.join(map(str, counts))}",
            "Train with UniformPaths, or give every block as many choices.",
        )

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """One path for each place in the permutations."""
        orders = [rng.permutation(count) for count in self.space.choices]
        return tuple(tuple(map(int, path)) for path in zip(*orders, strict=True))


def draw_within(
    limits: Limits, space: SearchSpace, tries: int, rng: np.random.Generator
) -> Architecture:
    """An architecture, uniform over those within limits, of which there is at least one."""
    for _ in range(tries):
        path = space.sample(rng)
        if limits.allows(path):
            return path
    return next(limits.draw((), rng))


def cost_bins(limits: Limits, cost: CostTable, count: int) -> tuple[Limits, ...]:
    """The limits of each bin of a cost, the cheapest first, of those that hold an architecture.

    A bin of which that cannot be told, though many draws were tried, is left out with a warning.

    Raises:
        InputError: it can be told of no bin.
    """
    every = Limits(limits.space, (*limits.limits, Limit(cost)))
    own = next(limit for limit in every.limits if limit.table.name == cost.name)
    others = [limit for limit in every.limits if limit is not own]
    base = cost.units_of(cost.cheapest())
    low, high = own.range
    low, high = base + max(low, 0), base + min(high, own.rooms[0])
    # Costs are whole numbers of units, so that each is in a single bin.
    edges = [low + (high - low + 1) * number // count for number in range(count + 1)]
    bins = []
    for least, beyond in pairwise(edges):
        if least < beyond:
            bin_limit = Limit(cost, *(Fraction(units, cost.scale) for units in (beyond - 1, least)))
            held = Limits(limits.space, (*others, bin_limit))
            holds = held.feasible()
            if holds:
                bins.append(held)
            elif holds is None:
                logger.warning("left out of the bins, since none is known there: %s", bin_limit)
    require(
        len(bins) > 0,
        "limits",
        f"bounds of which it can be told which costs are legal, for bins of {cost.name}",
        "; ".join(map(str, limits.limits)),
        "Widen the room between the bounds, or train with LegalPaths.",
    )
    return tuple(bins)


def require_tries(tries: object) -> None:
    """Raise `InputError` unless some draws are allowed."""
    require(
        is_whole(tries) and tries >= 1,  # type: ignore[operator]
        "tries",
        "at least 1",
        repr(tries),
        "Allow some draws.",
    )


def require_of_space(limits: Limits, space: SearchSpace) -> None:
    """Raise `InputError` unless limits are on the architectures of a space."""
    require(
        limits.space == space,
        "limits",
        f"limits on {list(space.choices)} choices per block",
        list(limits.space.choices),
        "Build the limits from the supernet that is trained.",
    )
