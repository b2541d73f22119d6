"""Mutation, crossover and random drawing, each bounded, under limits and a frozen prefix.

Every operator is tried at most `TRIES` times per wanted architecture, and given up earlier after
`STALE` tries in a row without anything new. What is then missing is drawn at random, and where that
starves, because nearly all legal architectures are seen, taken from the enumeration of the legal
ones. So a generation comes up short only if nothing legal and new is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import final

import numpy as np

from raynas.errors import require
from raynas.evolution.strategy import Problem
from raynas.space import Architecture, SearchSpace

TRIES = 10
"""Tries per wanted architecture, after which an operator gives up."""

STALE = 10_000
"""Tries in a row without a new legal architecture, after which an operator gives up."""

LARGEST_POPULATION = 1_000_000
"""Larger populations are refused: no evaluation ends in time, and they fill the memory."""


@final
@dataclass(frozen=True)
class Breeding:
    """The settings that make a generation of its parents.

    Args:
        population: architectures per generation.
        crossover: how many of them crossover gives at most; half of them if `None`.
        mutation: how many of them mutation gives at most; half of them if `None`.
        mutation_probability: the probability that mutation changes a block.

    Raises:
        InputError: a negative number, a population too large, more children than it holds, or a
            probability outside [0, 1].
    """

    population: int
    crossover: int | None = None
    mutation: int | None = None
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        require_population(self.population)
        for name in ("crossover", "mutation"):
            value = getattr(self, name)
            require(value is None or value >= 0, name, "at least 0", value, "Omit it to take half.")
        require(
            self.children("crossover") + self.children("mutation") <= self.population,
            "crossover + mutation",
            f"at most the population of {self.population}",
            f"{self.children('crossover')} + {self.children('mutation')}",
            "Lower them, or raise the population.",
        )
        require(
            0 <= self.mutation_probability <= 1,
            "mutation_probability",
            "a probability from 0 to 1",
            self.mutation_probability,
            "The papers use 0.1.",
        )

    def children(self, operator: str) -> int:
        """The most children that `"crossover"` or `"mutation"` gives."""
        wanted: int | None = getattr(self, operator)
        return self.population // 2 if wanted is None else wanted


def require_population(population: int) -> None:
    """Raise `InputError` unless a population of this size can be bred and evaluated."""
    require(
        population <= LARGEST_POPULATION,
        "population",
        f"at most {LARGEST_POPULATION:,}",
        f"{population:,}",
        "The papers use 50.",
    )


def mutate(
    architecture: Architecture,
    space: SearchSpace,
    probability: float,
    rng: np.random.Generator,
    frozen: int = 0,
) -> Architecture:
    """Change each block behind the frozen ones with the given probability.

    A changed block takes one of its other choices, each equally likely; a block with a single
    choice stays.
    """
    choices = np.asarray(space.choices[frozen:], dtype=np.int64)
    suffix = np.asarray(architecture[frozen:], dtype=np.int64)
    changed = rng.random(len(choices)) < probability
    shift = rng.integers(1, np.maximum(choices, 2))
    mutated = np.where(changed, (suffix + shift) % choices, suffix)
    return architecture[:frozen] + tuple(mutated.tolist())


def crossover(
    a: Architecture, b: Architecture, rng: np.random.Generator, frozen: int = 0
) -> Architecture:
    """Take each block behind the frozen ones from either parent with equal probability.

    The frozen blocks are those of `a`.
    """
    from_a = rng.random(len(a) - frozen) < 0.5
    suffix = np.where(from_a, a[frozen:], b[frozen:])
    return a[:frozen] + tuple(int(choice) for choice in suffix)


def fill_random(
    problem: Problem,
    prefix: Architecture,
    count: int,
    seen: Set[Architecture],
    rng: np.random.Generator,
) -> tuple[tuple[Architecture, ...], dict[str, int]]:
    """Draw legal architectures that start with the prefix and are not among the seen.

    Uniform draws come first; what they leave missing, because most legal ones are seen, comes from
    enumerating the legal ones in random order.

    Returns:
        At most `count` distinct architectures, fewer only if no others are left, and how many of
        them are `"random"` and `"enumeration"`.

    Raises:
        InputError: a count above `LARGEST_POPULATION`.
    """
    require_population(count)
    taken = set(seen)
    draws = islice(problem.limits.proposals(prefix, rng), TRIES * count)
    drawn = list(islice(unseen(problem, draws, taken, STALE), count))
    rest = problem.limits.enumerate(prefix, rng)
    listed = list(islice(unseen(problem, rest, taken), count - len(drawn)))
    return (*drawn, *listed), {"random": len(drawn), "enumeration": len(listed)}


def breed(
    problem: Problem,
    prefix: Architecture,
    parents: Sequence[Architecture],
    seen: Set[Architecture],
    breeding: Breeding,
    rng: np.random.Generator,
) -> tuple[tuple[Architecture, ...], dict[str, int]]:
    """A generation of the parents' children, completed by `fill_random`; all of it without parents.

    Args:
        problem: the space and the limits.
        prefix: the frozen choices; all parents start with them.
        parents: equally likely to be chosen, whatever their rank.
        seen: architectures to leave out; the parents are never proposed either.
        breeding: how many children of each kind.
        rng: the randomness.

    Returns:
        At most `breeding.population` distinct legal unseen architectures, fewer only if no others
        are left, and how many of them each source gave.
    """
    taken = {*seen, *parents}
    frozen = len(prefix)
    wanted = {operator: breeding.children(operator) for operator in ("crossover", "mutation")}
    couples = pairs(parents, TRIES * wanted["crossover"], rng)
    crossings = (crossover(a, b, rng, frozen) for a, b in couples)
    crossed = list(islice(unseen(problem, crossings, taken, STALE), wanted["crossover"]))
    tries = range(TRIES * wanted["mutation"] if parents else 0)
    picks = (parents[int(rng.integers(len(parents)))] for _ in tries)
    probability = breeding.mutation_probability
    mutants = (mutate(pick, problem.space, probability, rng, frozen) for pick in picks)
    mutated = list(islice(unseen(problem, mutants, taken, STALE), wanted["mutation"]))
    missing = breeding.population - len(crossed) - len(mutated)
    filled, origins = fill_random(problem, prefix, missing, taken, rng)
    origins = {"crossover": len(crossed), "mutation": len(mutated), **origins}
    return (*crossed, *mutated, *filled), origins


def pairs(
    parents: Sequence[Architecture], count: int, rng: np.random.Generator
) -> Iterator[tuple[Architecture, Architecture]]:
    """Draw `count` pairs of different parents; none if there are fewer than two."""
    for _ in range(count if len(parents) > 1 else 0):
        a, b = rng.choice(len(parents), size=2, replace=False)
        yield parents[a], parents[b]


def unseen(
    problem: Problem,
    candidates: Iterable[Architecture],
    taken: set[Architecture],
    patience: int | None = None,
) -> Iterator[Architecture]:
    """The legal candidates that are not taken; each of them is taken when it is yielded.

    Ends after `patience` candidates in a row of which none is yielded; never if that is `None`.
    """
    stale = 0
    for candidate in candidates:
        if candidate not in taken and problem.limits.allows(candidate):
            taken.add(candidate)
            stale = 0
            yield candidate
        else:
            stale += 1
            if stale == patience:
                return
