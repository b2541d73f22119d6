"""`EA`: the evolutionary search of SPOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.evolution.operators import Breeding, breed
from raynas.evolution.strategy import EXHAUSTED, Problem, Proposal, State, Strategy


@dataclass(frozen=True)
class Evolutionary(Strategy):
    """A strategy whose generations are children of the Top-K; the settings are those of `EA`."""

    crossover: int | None = None
    mutation: int | None = None
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.breeding()

    def breeding(self) -> Breeding:
        """The settings of the operators."""
        return Breeding(self.population, self.crossover, self.mutation, self.mutation_probability)


@final
@dataclass(frozen=True)
class EA(Evolutionary):
    """Evolutionary architecture search (SPOS, section 3.4, Algorithm 1).

    Generation 0 is random; each later one is half crossover, half mutation of the Top-K found so
    far. Deviations:

    - no architecture is proposed twice, so crossover and mutation may fall short of their halves;
      random architectures then complete the generation, and tries are bounded;
    - crossover takes two different parents;
    - the algorithm generates a last population that it never evaluates; this one does not.

    Args:
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many of the best are parents.
        crossover: children by crossover per generation; half the population if `None`.
        mutation: children by mutation per generation; half the population if `None`.
        mutation_probability: the probability that mutation changes a block.

    Raises:
        InputError: a setting out of range.
    """

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """Children of the Top-K; random architectures while there is none."""
        return evolve(problem, state, self.breeding(), rng)


def evolve(
    problem: Problem, state: State, breeding: Breeding, rng: np.random.Generator
) -> Proposal:
    """A generation of the Top-K's children behind the state's prefix; random without a Top-K."""
    parents = [score.architecture for score in state.top]
    population, origins = breed(problem, state.prefix, parents, state.seen, breeding, rng)
    finished = None if population else EXHAUSTED
    return Proposal(state.prefix, population, origins=origins, finished=finished)
