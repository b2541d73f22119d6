"""`NSGA2`: a search for the front of accuracy against costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import numpy as np

from raynas.errors import InputError, is_number, require
from raynas.evolution.fronts import NonDominated, front_of
from raynas.evolution.operators import (
    STALE,
    TRIES,
    crossover,
    fill_random,
    mutate,
    require_population,
    unseen,
)
from raynas.evolution.strategy import (
    EXHAUSTED,
    Problem,
    Proposal,
    State,
    Strategy,
    best_first,
)
from raynas.score import Score
from raynas.space import Architecture, as_choices


@final
@dataclass(frozen=True)
class NSGA2(Strategy):
    """Search for architectures none of which is worse in every way (Deb et al. 2002).

    The first objective is maximised and every named cost minimised. GreedyNAS searches so (its
    section 3.4), starting from the pool of its training. Each generation breeds as many children as
    there are survivors: two parents win a binary tournament of rank and crowding, are crossed, and
    the child is mutated. Deviations:

    - no architecture is proposed twice; random ones complete a generation, and tries are bounded;
    - real-coded operators give way to those of the EA: every block from either parent, and changed
      with a small probability.

    Args:
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many survive a generation; the population if that is smaller. The front at the
            end may be larger: it is that of everything that was scored.
        costs: the names of the costs: `"flops"`, `"params"`, or that of a `Cost` or `Latency` in
            the constraint, which needs no bound then.
        crossover_probability: that a child has two parents rather than one.
        mutation_probability: that mutation changes a block.
        initial: architectures to begin with, best first, such as a pool; those that are not legal
            are left out, and random ones complete the generation.

    Raises:
        InputError: a setting out of range.
    """

    top_k: int = 50
    costs: tuple[str, ...] = ("flops",)
    crossover_probability: float = 0.9
    mutation_probability: float = 0.1
    initial: tuple[Architecture, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_population(self.population)
        object.__setattr__(self, "top_k", min(self.top_k, self.population))
        named = isinstance(self.costs, list | tuple) and all(isinstance(c, str) for c in self.costs)
        require(
            named and len(self.costs) > 0 and len(set(self.costs)) == len(self.costs),
            "costs",
            "the names of one cost or several",
            repr(self.costs),
            "Write costs=('flops',).",
        )
        object.__setattr__(self, "costs", tuple(self.costs))
        object.__setattr__(self, "initial", as_architectures(self.initial))
        for name in ("crossover_probability", "mutation_probability"):
            value = getattr(self, name)
            require(
                is_number(value) and 0 <= value <= 1,
                name,
                "a probability from 0 to 1",
                repr(value),
                "Use 0.9 and 0.1.",
            )
        if self.survival is best_first:
            object.__setattr__(self, "survival", NonDominated(self.costs))

    def minimised(self) -> tuple[str, ...]:
        """The named costs."""
        return self.costs

    def check(self, problem: Problem) -> None:
        """See that the problem has the costs, and the choices of the initial architectures.

        Raises:
            InputError: a cost that the problem does not have, or an initial architecture of another
                space.
        """
        unknown = [name for name in self.costs if name not in problem.tables]
        require(
            not unknown,
            "costs",
            f"names among {', '.join(problem.tables) or 'none'}",
            unknown,
            "Name a cost that the search knows; others join as constraint=raynas.Cost(table), or "
            "raynas.Latency(table=…) (--latency-table, --limits).",
        )
        for each in self.initial:
            problem.space.validate(each, "initial")

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """Children of the survivors; the initial architectures while there are none."""
        parents = [score.architecture for score in state.top]
        taken = {*state.seen, *parents}
        if parents:
            source, bred = "crossover", self.children(problem, parents, rng)
        else:
            source, bred = "initial", iter(self.initial)
        found = tuple(islice(unseen(problem, bred, taken, STALE), self.population))
        filled, origins = fill_random(problem, (), self.population - len(found), taken, rng)
        origins = {source: len(found), **origins}
        population = (*found, *filled)
        return Proposal((), population, origins=origins, finished=None if population else EXHAUSTED)

    def children(
        self, problem: Problem, parents: Sequence[Architecture], rng: np.random.Generator
    ) -> Iterator[Architecture]:
        """A bounded number of children of parents, which are given best first."""

        def pick() -> Architecture:
            # Parents are in the order that a tournament would compare them by.
            return parents[int(rng.integers(len(parents), size=2).min())]

        for _ in range(TRIES * self.population):
            child = pick()
            if rng.random() < self.crossover_probability:
                child = crossover(child, pick(), rng)
            yield mutate(child, problem.space, self.mutation_probability, rng)

    def undominated(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        """The scores that no other one dominates."""
        return front_of(scores, self.costs)

    def finalists(self, state: State) -> tuple[Architecture, ...]:
        """The front of everything that was scored, the best first objective first; see `front`."""
        return tuple(score.architecture for score in state.undominated or self.front(state.top))

    def front(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        """The scores that no other one dominates; where none is usable, the best by rank."""
        return front_of(scores, self.costs) or best_first(scores, 1)

    def settings(self) -> dict[str, Any]:
        """The name of the strategy and its fields, for `config.json`."""
        values = super().settings()
        if self.survival == NonDominated(self.costs):
            del values["survival"]
        return {**values, "costs": list(self.costs), "initial": [list(a) for a in self.initial]}


def as_architectures(initial: Sequence[Sequence[int]]) -> tuple[Architecture, ...]:
    """Initial architectures, of any space, as tuples of ints.

    Raises:
        InputError: something else than a list of architectures.
    """
    try:
        listed = [tuple(each) for each in initial]
    except TypeError:
        raise InputError(
            "initial",
            "a list of architectures",
            repr(initial),
            "Write initial=((0, 1, 2), (0, 2, 2)), or leave it out.",
        ) from None
    return tuple(as_choices(each, "initial") for each in listed)
