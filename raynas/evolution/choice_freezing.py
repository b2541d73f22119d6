"""`CFES` and `PCFES`: evolutionary search that freezes the choices of shallow blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from raynas.errors import is_number, is_whole, require
from raynas.evolution.freezing import (
    choice_percentages,
    initial_freeze,
    majority,
    overwrite,
    progressive_freeze,
    refusal,
)
from raynas.evolution.operators import breed
from raynas.evolution.spos import Evolutionary, evolve
from raynas.evolution.strategy import ALL_FROZEN, Problem, Proposal, State
from raynas.space import Architecture

CENSUSES = ("population", "top_k")


@dataclass(frozen=True)
class Freezing(Evolutionary):
    """A strategy that freezes what a census agrees on; the settings are those of `PCFES`."""

    threshold: float = 0.7
    block_ratio: float = 0.5
    census: str = "population"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            is_number(self.threshold) and 0 < self.threshold < 1,
            "threshold",
            "a share between 0 and 1",
            repr(self.threshold),
            "The paper uses 0.4 to 0.7.",
        )
        require(
            is_number(self.block_ratio) and 0 <= self.block_ratio < 1,
            "block_ratio",
            "a share from 0 to below 1",
            repr(self.block_ratio),
            "The paper uses 0.5.",
        )
        require(
            self.census in CENSUSES,
            "census",
            " or ".join(map(repr, CENSUSES)),
            repr(self.census),
            "The paper counts the population.",
        )


@final
@dataclass(frozen=True)
class CFES(Freezing):
    """Choice Freezing Evolutionary Search: freezes once (PCF-ES, section 4.2).

    The evolution is that of `EA`. Before each generation, until one has frozen blocks, a census of
    the last generation decides whether the first blocks are frozen to their majority choices.
    Deviations, shared with `PCFES`:

    - overwriting the prefix of the Top-K makes other architectures of them, so the limits are
      checked again, duplicates are merged, and they are scored again;
    - a freeze that leaves no legal parent or no legal suffix is refused for this generation;
    - a census decides nothing unless selection has made its majorities: not after generation 0,
      which is random (Algorithm 1 tests it, too; under a tight limit or a low threshold it would
      freeze what the limits or chance prefers), and not after a generation that came up short,
      which is what was left of the legal architectures.

    Args and errors as those of `PCFES`, without `monitor`.
    """

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """Children of the Top-K, behind the prefix that the census asks for."""
        return propose(self, problem, state, decide(self, problem, state, monitor=0), rng)


@final
@dataclass(frozen=True)
class PCFES(Freezing):
    """Progressive Choice Freezing Evolutionary Search (PCF-ES, section 3.4, Algorithm 1).

    As `CFES`; after the first freeze, each later census may freeze up to `monitor` more blocks.
    Deviations beside those of `CFES`:

    - Algorithm 1 lacks the break after a progressive freeze and never advances j: here one freeze
      a generation takes the most blocks that pass, and j grows by their number;
    - its tests of x < f monitored blocks still print the averages over f blocks: here they are
      over the x blocks that would be frozen.

    Args:
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many of the best are parents.
        crossover: children by crossover per generation; half the population if `None`.
        mutation: children by mutation per generation; half the population if `None`.
        mutation_probability: the probability that mutation changes a block.
        threshold: the choice percentage threshold H, in (0, 1).
        block_ratio: the block ratio threshold, in [0, 1).
        census: whose choices are counted: `"population"` or `"top_k"`.
        monitor: the monitor size f: how many more blocks a later freeze may take.

    Raises:
        InputError: a setting out of range.
    """

    monitor: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            is_whole(self.monitor) and self.monitor >= 1,
            "monitor",
            "at least 1",
            repr(self.monitor),
            "Use CFES to freeze only once.",
        )

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """Children of the Top-K, behind the prefix that the census asks for."""
        prefix = decide(self, problem, state, monitor=self.monitor)
        return propose(self, problem, state, prefix, rng)


def decide(strategy: Freezing, problem: Problem, state: State, monitor: int) -> Architecture:
    """The prefix that the census asks for: that of the state, or a longer one.

    Args:
        strategy: whose thresholds to use.
        problem: the space.
        state: that was told.
        monitor: how many blocks may follow those that are already frozen.
    """
    if state.generation < 2 or len(state.population) < strategy.population:
        return state.prefix
    top = tuple(score.architecture for score in state.top)
    census = top if strategy.census == "top_k" else state.population
    percentages = choice_percentages(census, problem.space)
    thresholds = (strategy.threshold, strategy.block_ratio)
    frozen = len(state.prefix)
    if frozen == 0:
        more = initial_freeze(percentages, *thresholds)
    else:
        more = progressive_freeze(percentages, frozen, monitor, *thresholds)
    return state.prefix + majority(percentages)[frozen : frozen + more]


def propose(
    strategy: Freezing,
    problem: Problem,
    state: State,
    prefix: Architecture,
    rng: np.random.Generator,
) -> Proposal:
    """The next generation behind a prefix, or behind the present one if that must be refused."""
    breeding = strategy.breeding()
    if prefix == state.prefix:
        return evolve(problem, state, breeding, rng)
    parents = overwrite(problem, [score.architecture for score in state.top], prefix)
    refused = refusal(problem, prefix, parents)
    if refused is not None:
        return replace(evolve(problem, state, breeding, rng), refused=refused)
    if len(prefix) == problem.space.blocks:
        return Proposal(prefix, (), finished=ALL_FROZEN)
    population, origins = breed(problem, prefix, parents, state.seen, breeding, rng)
    return Proposal(prefix, population, parents, origins)
