"""`RandomSearch`: the baseline that every search has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from raynas.evolution.operators import fill_random, require_population
from raynas.evolution.strategy import EXHAUSTED, Problem, Proposal, State, Strategy


@final
@dataclass(frozen=True)
class RandomSearch(Strategy):
    """Random search with the evaluations of an evolutionary one (SPOS, section 4, Figure 3).

    Every generation is drawn uniformly from the legal architectures. Deviation: none is drawn
    twice; once nearly all are seen, the rest are enumerated in random order.

    Args:
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many of the best are kept.

    Raises:
        InputError: a setting below 1, or a population too large.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require_population(self.population)

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """New random architectures."""
        population, origins = fill_random(problem, state.prefix, self.population, state.seen, rng)
        finished = None if population else EXHAUSTED
        return Proposal(state.prefix, population, origins=origins, finished=finished)
