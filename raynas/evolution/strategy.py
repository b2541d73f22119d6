"""`Strategy`: asks for the architectures of a generation, and is told their scores.

A strategy holds settings and nothing else. What it has learned is a `State`, a value that goes in
and comes out, so a search is resumed by telling the recorded scores again::

    strategy.check(problem)
    state = strategy.start()
    while state.finished is None:
        rng = np.random.default_rng([seed, state.generation])
        proposal = strategy.ask(problem, state, rng)
        scores = [evaluate(a) for a in (*proposal.rescored, *proposal.population)]
        state = strategy.tell(state, proposal, scores)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, final

import numpy as np

from raynas.costs import CostTable, Limits
from raynas.costs.tables import same_choices
from raynas.errors import is_whole, require
from raynas.score import Score, rank_key
from raynas.space import Architecture, SearchSpace

GENERATION_LIMIT = "generation limit"
ALL_FROZEN = "all blocks frozen"
EXHAUSTED = "legal architectures exhausted"


@final
@dataclass(frozen=True)
class Problem:
    """The problem that a strategy solves: a search space, and the limits on its architectures.

    Args:
        space: the choices of each block.
        limits: which architectures of this space are legal.
        tables: the costs that every score is given, by name; those of the limits join them.

    Raises:
        InputError: limits or a cost of another space, or no architecture is legal.
    """

    space: SearchSpace
    limits: Limits
    tables: Mapping[str, CostTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.tables.values():
            same_choices(table, self.space.choices)
        object.__setattr__(self, "tables", {**self.tables, **self.limits.tables})
        require(
            self.limits.space == self.space,
            "limits",
            f"limits on {list(self.space.choices)} choices per block",
            list(self.limits.space.choices),
            "Build the limits from the supernet that is searched.",
        )
        self.limits.require_feasible()

    def priced(self, scores: Sequence[Score]) -> list[Score]:
        """The scores, each with the costs of its architecture."""
        return [replace(score, costs=self.costs(score.architecture)) for score in scores]

    def costs(self, architecture: Architecture) -> dict[str, int | float]:
        """The costs of an architecture by name."""
        return {name: table.of(architecture) for name, table in self.tables.items()}


Survival = Callable[[Sequence[Score], int], tuple[Score, ...]]
"""Chooses, of distinct scores, at most so many that stay parents, best first."""


def best_first(scores: Sequence[Score], count: int) -> tuple[Score, ...]:
    """The `count` best scores by their first objective, best first."""
    return tuple(sorted(scores, key=rank_key)[:count])


@final
@dataclass(frozen=True)
class Proposal:
    """One generation, before it is evaluated.

    Args:
        prefix: the frozen choices from this generation on; every architecture starts with them.
        population: new architectures: legal, distinct and never proposed before.
        rescored: parents to score (again) because the prefix, and with it the protocol, has
            changed; empty unless it has. Legal, distinct, best first.
        origins: how many of the population each source gave: `"crossover"`, `"mutation"`,
            `"random"`, `"enumeration"`.
        refused: why a freeze that the census called for was refused; `None` if none was.
        finished: why the search ends with this proposal, which is then empty; `None` if it goes on.
    """

    prefix: Architecture
    population: tuple[Architecture, ...]
    rescored: tuple[Architecture, ...] = ()
    origins: Mapping[str, int] = field(default_factory=dict)
    refused: str | None = None
    finished: str | None = None


@final
@dataclass(frozen=True)
class State:
    """The state of a search between two generations.

    Args:
        generation: the number of proposals told so far.
        prefix: the frozen choices.
        population: the architectures that the last proposal brought in.
        top: the Top-K, best first, all scored under the current prefix.
        earlier: the best score under each prefix that a freeze has replaced, oldest first; the
            whole Top-K of the one that a complete prefix has replaced.
        seen: every architecture ever proposed.
        finished: why the search has ended; `None` while it goes on.
        undominated: of all scores told under the current prefix, those that the strategy keeps
            beside the Top-K, however many they are; see `Strategy.undominated`.
    """

    generation: int = 0
    prefix: Architecture = ()
    population: tuple[Architecture, ...] = ()
    top: tuple[Score, ...] = ()
    earlier: tuple[Score, ...] = ()
    seen: frozenset[Architecture] = frozenset()
    finished: str | None = None
    undominated: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Strategy(ABC):
    """A search strategy: settings, and pure functions of a `State`.

    Args:
        population: architectures per generation; fewer are proposed once the legal ones run out.
        generations: the generation limit.
        top_k: how many of the best are kept.
        survival: which of them those are; the best by the first objective if omitted.

    Raises:
        InputError: a setting below 1.
    """

    population: int = 50
    generations: int = 20
    top_k: int = 10
    survival: Survival = field(default=best_first, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("population", "generations", "top_k"):
            value = getattr(self, name)
            require(
                is_whole(value) and value >= 1,
                name,
                "at least 1",
                repr(value),
                "The papers use 50, 20 and 10.",
            )
        require(
            callable(self.survival),
            "survival",
            "a function of scores and a count",
            repr(self.survival),
            "Omit it to keep the best.",
        )

    def start(self) -> State:
        """The state before the first generation."""
        return State()

    def minimised(self) -> tuple[str, ...]:
        """The names of the costs that are minimised beside the first objective; none here."""
        return ()

    def check(self, problem: Problem) -> None:  # noqa: B027
        """See that the settings suit a problem, before anything is written; none matters here.

        Raises:
            InputError: in strategies whose settings name something of the problem.
        """

    @abstractmethod
    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        """Propose the next generation; it depends on nothing but the arguments.

        Args:
            problem: the space and the limits, the same throughout a search.
            state: an unfinished state.
            rng: randomness of this generation's own, so that it can be asked for again.
        """

    def tell(self, state: State, proposal: Proposal, scores: Sequence[Score]) -> State:
        """The state after a generation.

        A longer prefix is another protocol, whose scores do not compare with the ones before: the
        Top-K starts again from the new scores, and the old best joins `earlier`.

        Args:
            state: the state that was asked.
            proposal: the answer to it.
            scores: one for each architecture of `proposal.rescored`, then of
                `proposal.population`, in this order.

        Raises:
            InputError: the scores are of other architectures or in another order, or the search
                has ended.
        """
        require_answer(state, proposal, scores)
        frozen = proposal.prefix != state.prefix
        # Behind a complete prefix nothing is left to score: the old Top-K has no successor.
        replaced = state.top if proposal.finished == ALL_FROZEN else state.top[:1]
        generation = state.generation + 1
        finished = GENERATION_LIMIT if generation >= self.generations else None
        return State(
            generation=generation,
            prefix=proposal.prefix,
            population=proposal.population,
            top=self.survival((*(() if frozen else state.top), *scores), self.top_k),
            earlier=(*state.earlier, *replaced) if frozen else state.earlier,
            seen=state.seen | {score.architecture for score in scores},
            finished=proposal.finished or finished,
            undominated=self.undominated((*(() if frozen else state.undominated), *scores)),
        )

    def undominated(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        """The scores to be kept beside the Top-K, since no other one is better; none here.

        Those of what was kept and of new scores must be those of all of them together.

        Args:
            scores: of distinct architectures, under one prefix.
        """
        return ()

    def finalists(self, state: State) -> tuple[Architecture, ...]:
        """The distinct architectures among which the winner is chosen.

        The Top-K, the best under each earlier prefix, and the prefix itself if it is complete.
        Their scores stem from different protocols: score them under one, the full one.
        """
        scored = [score.architecture for score in (*state.top, *state.earlier)]
        complete = [state.prefix] if state.finished == ALL_FROZEN else []
        return tuple(dict.fromkeys((*scored, *complete)))

    def front(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        """The finalists that the search was for, from their full scores: the best one.

        The first of them is the winner.

        Args:
            scores: of the finalists, at least one.
        """
        return best_first(scores, 1)

    def settings(self) -> dict[str, Any]:
        """The name of the strategy and its fields, for `config.json`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.survival is best_first:
            del values["survival"]
        named = {
            # A `functools.partial`, say, has a name only by its class.
            name: getattr(value, "__qualname__", type(value).__qualname__)
            if callable(value)
            else value
            for name, value in values.items()
        }
        return {"strategy": type(self).__name__, **named}


def require_answer(state: State, proposal: Proposal, scores: Sequence[Score]) -> None:
    """Raise `InputError` unless the scores answer the proposal and the search goes on."""
    require(
        state.finished is None,
        "state",
        "a search that goes on",
        f"one that has ended: {state.finished}",
        "Stop asking once state.finished is set.",
    )
    asked = [*proposal.rescored, *proposal.population]
    told = [score.architecture for score in scores]
    differ = [i for i, (a, b) in enumerate(zip(asked, told, strict=False)) if a != b]
    require(
        asked == told,
        "scores",
        f"{len(asked)} scores: of proposal.rescored, then of proposal.population, in their order",
        f"{told[differ[0]]} in place {differ[0]}" if differ else len(told),
        "Score every proposed architecture once and keep the order.",
    )
