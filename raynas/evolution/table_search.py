"""The genetic algorithm that specialises networks on an accuracy table (PONAS, section 3.3).

Nothing is evaluated: what an architecture loses is looked up. So thousands of generations take
about a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import final

import numpy as np

from raynas.costs import CostTable, Limits
from raynas.costs.tables import Amount, same_choices
from raynas.errors import is_number, is_whole, require
from raynas.evolution.operators import mutate
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class TableSearch:
    """The settings of the genetic algorithm; the defaults are the paper's.

    Args:
        population: chromosomes of the first generation.
        parents: the best of each generation, an even number; as many children join them.
        generations: how often that is repeated.
        mutation_probability: the probability that a position of a child changes.
        tries: of a crossover or a mutation whose child would break a limit. After that the child
            is what it was before, which breaks none; the paper repeats them without end.

    Raises:
        InputError: a value out of range.
    """

    population: int = 20
    parents: int = 10
    generations: int = 1_000
    mutation_probability: float = 0.1
    tries: int = 100

    def __post_init__(self) -> None:
        smallest = {"population": 1, "parents": 2, "generations": 1, "tries": 1}
        for name, lowest in smallest.items():
            value = getattr(self, name)
            require(
                is_whole(value) and value >= lowest,
                name,
                f"a whole number, at least {lowest}",
                repr(value),
                "Change the setting.",
            )
        require(
            self.parents % 2 == 0 and self.parents <= self.population,
            "parents",
            f"an even number, at most the population of {self.population}",
            self.parents,
            "The paper pairs 10 of 20.",
        )
        probability = self.mutation_probability
        require(
            is_number(probability) and 0 <= probability <= 1,
            "mutation_probability",
            "a probability from 0 to 1",
            repr(probability),
            "The paper uses 0.1.",
        )

    def minimise(self, table: CostTable, limits: Limits, rng: np.random.Generator) -> Found:
        """Search for the legal architecture of least cost.

        Deviation: the parents differ from each other, as far as there are so many; copies of one
        would soon be all of them.

        Args:
            table: what architectures lose.
            limits: of the same space.
            rng: decides everything random.

        Raises:
            InputError: a table of another space, or no architecture is legal.
        """
        same_choices(table, limits.space.choices)
        limits.require_feasible()
        population = list(islice(limits.draw((), rng), self.population))
        curve = []
        for _ in range(self.generations):
            parents = self.select(table, population)
            curve.append(parents[0])
            population = [*parents, *self.breed(parents, limits, rng)]
        curve.append(self.select(table, population)[0])
        costs = {each: table.of(each) for each in set(curve)}
        return Found(curve[-1], costs[curve[-1]], tuple(costs[each] for each in curve))

    def select(self, table: CostTable, population: Sequence[Architecture]) -> list[Architecture]:
        """The best of a population, best first; ties are broken lexicographically."""
        ranked = sorted(set(population), key=lambda each: (table.units_of(each), each))
        return ranked[: self.parents]

    def breed(
        self, parents: Sequence[Architecture], limits: Limits, rng: np.random.Generator
    ) -> list[Architecture]:
        """As many legal children as there are parents, of random pairs.

        Where parents are missing, some are in several pairs.
        """
        places = np.resize(rng.permutation(len(parents)), self.parents).tolist()
        pairs = list(pairwise(parents[place] for place in places))[::2]
        children = [child for pair in pairs for child in self.cross(*pair, limits, rng)]
        return [self.mutated(child, limits, rng) for child in children]

    def cross(
        self, a: Architecture, b: Architecture, limits: Limits, rng: np.random.Generator
    ) -> tuple[Architecture, Architecture]:
        """Two legal children that swap what is behind one position; the parents if none are."""
        for position in rng.integers(1, len(a) + 1, self.tries).tolist():
            first, second = a[:position] + b[position:], b[:position] + a[position:]
            if limits.allows(first) and limits.allows(second):
                return first, second
        return a, b

    def mutated(
        self, child: Architecture, limits: Limits, rng: np.random.Generator
    ) -> Architecture:
        """A legal mutant; the child itself if none is found."""
        for _ in range(self.tries):
            mutant = mutate(child, limits.space, self.mutation_probability, rng)
            if limits.allows(mutant):
                return mutant
        return child


@final
@dataclass(frozen=True)
class Found:
    """The result of the genetic algorithm.

    Args:
        architecture: legal.
        cost: of it.
        curve: the least cost after every generation, that of the first population first (figure 4).
    """

    architecture: Architecture
    cost: Amount
    curve: tuple[Amount, ...]
