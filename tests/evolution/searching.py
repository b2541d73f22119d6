"""Problems, evaluators and the search loop that the tests of this room share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from raynas.costs import CostTable, Limit, Limits
from raynas.evolution import Problem, Proposal, Score, State, Strategy
from raynas.space import Architecture, SearchSpace

Evaluate = Callable[[Architecture], Score]


def unit(text: str) -> float:
    """A number in [0, 1) that the text alone determines, in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def additive(architecture: Architecture) -> float:
    """The mean of one fixed value per block and choice, in [0, 1)."""
    return float(np.mean([unit(f"{b}:{c}") for b, c in enumerate(architecture)]))


def evaluate(architecture: Architecture) -> Score:
    """Additive fitness with a little noise, rounded so that ties occur."""
    top1 = round(additive(architecture) + 0.05 * unit(str(architecture)), 2)
    return Score(architecture, {"top1": top1}, loss=round(1 - top1 + unit(str(architecture)), 1))


@dataclass(frozen=True)
class Step:
    """One generation of a recorded search."""

    before: State
    proposal: Proposal
    scores: tuple[Score, ...]
    after: State


def run(
    strategy: Strategy, problem: Problem, seed: int = 0, evaluate: Evaluate = evaluate
) -> list[Step]:
    """The search loop; fails if the search exceeds its generation limit."""
    steps: list[Step] = []
    state = strategy.start()
    while state.finished is None:
        proposal = strategy.ask(problem, state, np.random.default_rng([seed, state.generation]))
        scores = tuple(evaluate(a) for a in (*proposal.rescored, *proposal.population))
        after = strategy.tell(state, proposal, scores)
        steps.append(Step(state, proposal, scores, after))
        assert len(steps) <= strategy.generations
        state = after
    return steps


def unconstrained(*choices: int) -> Problem:
    """A problem in which everything is legal."""
    space = SearchSpace(choices)
    return Problem(space, Limits(space))


def limited(table: CostTable, at_most: int | None = None) -> Problem:
    """The space of a table under one upper limit."""
    space = SearchSpace(tuple(len(costs) for costs in table.blocks))
    return Problem(space, Limits(space, (Limit(table, at_most),)))


def legal(problem: Problem, prefix: Architecture = ()) -> set[Architecture]:
    """All legal architectures with the prefix, by looking at every architecture."""
    return {a for a in problem.space.enumerate(prefix) if keeps(problem, a)}


def keeps(problem: Problem, architecture: Architecture) -> bool:
    """Whether an architecture keeps all limits, by adding up its costs."""
    for limit in problem.limits.limits:
        table = limit.table
        cost = Fraction(str(table.base))
        for block, choice in enumerate(architecture):
            cost += Fraction(str(table.blocks[block][choice]))
        if limit.at_most is not None and cost > Fraction(str(limit.at_most)):
            return False
        if limit.at_least is not None and cost < Fraction(str(limit.at_least)):
            return False
    return True


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small spaces; limits that leave from one architecture to all of them."""
    large = st.lists(st.integers(2, 4), min_size=4, max_size=5)
    choices = tuple(draw(large | st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    costs = st.integers(0, draw(st.sampled_from([1, 5, 10**10])))
    blocks = tuple(tuple(draw(st.lists(costs, min_size=n, max_size=n))) for n in choices)
    table = CostTable("flops", draw(costs), blocks)
    space = SearchSpace(choices)
    totals = sorted(table.of(a) for a in space.enumerate())
    few = st.integers(0, min(5, len(totals) - 1)).map(lambda rank: totals[rank])
    any_of_them = st.sampled_from(totals)
    at_most = draw(st.one_of(st.none(), few, any_of_them))
    return limited(table, at_most)
