"""The contract of strategies: what the loop relies on, checked over a whole search.

For a strategy of your own::

    def test_my_strategy():
        check_strategy(MyStrategy(population=8, generations=6, top_k=3))
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

from raynas.costs import CostTable, Limit, Limits
from raynas.errors import InputError
from raynas.evolution.strategy import (
    ALL_FROZEN,
    EXHAUSTED,
    GENERATION_LIMIT,
    Problem,
    Proposal,
    State,
    Strategy,
    best_first,
)
from raynas.score import Score
from raynas.space import Architecture, SearchSpace

Evaluate = Callable[[Architecture], Score]


@final
@dataclass(frozen=True)
class Step:
    """One generation of a search: the state that was asked, the answer, and the state told."""

    before: State
    proposal: Proposal
    scores: tuple[Score, ...]
    after: State


def check_strategy(
    strategy: Strategy,
    problem: Problem | None = None,
    *,
    evaluate: Evaluate | None = None,
    seed: int = 0,
) -> list[Step]:
    """Run a search, and check what every strategy promises.

    Proposals are legal, new, distinct, and behind the prefix; they depend on nothing but the
    arguments; the best are kept; the search ends, for the reason that it gives, with legal
    finalists; and the recorded scores, told again, lead to the same state.

    Args:
        strategy: any.
        problem: in a space small enough to list; several small ones if omitted.
        evaluate: scores an architecture; a fixed pretended score if omitted.
        seed: of the search.

    Returns:
        The generations of the search, of the last problem if there are several.

    Raises:
        AssertionError: a broken promise, by name.
    """
    scorer = evaluate or pretended_score
    steps: list[Step] = []
    for each in small_problems() if problem is None else [problem]:
        steps = run_strategy(strategy, each, seed, scorer)
        for step in steps:
            check_proposal(each, step)
            check_purity(strategy, each, step, seed)
        check_kept(strategy, steps)
        check_end(strategy, each, steps)
        check_answers_are_required(strategy, steps)
    settings = strategy.settings()
    assert json.loads(json.dumps(settings)) == settings, f"settings are not JSON: {settings}"
    return steps


def run_strategy(
    strategy: Strategy, problem: Problem, seed: int = 0, evaluate: Evaluate | None = None
) -> list[Step]:
    """Run the loop of a search; `AssertionError` if it goes on beyond its generation limit."""
    scorer = evaluate or pretended_score
    strategy.check(problem)
    steps: list[Step] = []
    state = strategy.start()
    while state.finished is None:
        assert len(steps) < strategy.generations, "the search exceeds its generation limit"
        proposal = strategy.ask(problem, state, generator(seed, state))
        answers = [scorer(a) for a in (*proposal.rescored, *proposal.population)]
        scores = tuple(problem.priced(answers))
        after = strategy.tell(state, proposal, scores)
        steps.append(Step(state, proposal, scores, after))
        state = after
    return steps


def check_proposal(problem: Problem, step: Step) -> None:
    """Check that proposed architectures are legal, distinct, behind the prefix, and new.

    Parents may come again where the prefix, and so the protocol of their scores, has changed.
    """
    proposal, before = step.proposal, step.before
    proposed = [*proposal.rescored, *proposal.population]
    assert len(set(proposed)) == len(proposed), f"proposed twice: {proposed}"
    illegal = set(proposed) - legal(problem, proposal.prefix)
    assert not illegal, f"illegal, or not behind the prefix {proposal.prefix}: {illegal}"
    known = before.seen & set(proposal.population)
    assert not known, f"proposed as new, but scored before: {known}"
    started = proposal.prefix[: len(before.prefix)]
    assert started == before.prefix, f"{proposal.prefix} gives up the prefix {before.prefix}"
    assert not proposal.rescored or proposal.prefix != before.prefix, "rescored without a freeze"
    origins = sum(proposal.origins.values())
    assert origins == len(proposal.population), f"origins of {origins} of the population"
    refused = proposal.refused is not None and proposal.prefix != before.prefix
    assert not refused, "a freeze that is called refused, and made"


def check_purity(strategy: Strategy, problem: Problem, step: Step, seed: int) -> None:
    """Check that a proposal, asked for again, is the same, whatever the global generators."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(seed + 1)
        np.random.seed((seed + 1) % 2**32)  # noqa: NPY002
        again = strategy.ask(problem, step.before, generator(seed, step.before))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    assert again == step.proposal, f"asked again: {again} instead of {step.proposal}"
    told = strategy.tell(step.before, again, [replayed(score) for score in step.scores])
    assert trace(told) == trace(step.after), f"told again: {told} instead of {step.after}"


def check_kept(strategy: Strategy, steps: Sequence[Step]) -> None:
    """Check the Top-K and the earlier bests against all scores of each protocol."""
    scored: list[Score] = []
    earlier: list[Score] = []
    for step in steps:
        if step.after.prefix != step.before.prefix:
            complete = step.proposal.finished == ALL_FROZEN
            earlier += step.before.top[: strategy.top_k if complete else 1]
            scored = []
        scored += step.scores
        kept = step.after.top
        assert len(kept) <= strategy.top_k, f"{len(kept)} parents, more than {strategy.top_k}"
        assert set(kept) <= set(scored), "parents that were not scored under this prefix"
        if strategy.survival is best_first:
            assert kept == best_first(scored, strategy.top_k), "the Top-K are not the best"
        assert list(step.after.earlier) == earlier, "the best before a freeze was lost"
        beside = strategy.undominated(scored)
        assert step.after.undominated == beside, f"{step.after.undominated} kept, not {beside}"


def check_end(strategy: Strategy, problem: Problem, steps: Sequence[Step]) -> None:
    """Check that the search ended for the reason that it gives, and left out nothing before."""
    for step in steps:
        left = legal(problem, step.after.prefix) - step.after.seen
        short = len(step.proposal.population) < strategy.population
        ended = step.proposal.finished == ALL_FROZEN
        assert not short or not left or ended, f"a short generation, but {len(left)} are left"
    end = steps[-1].after
    if end.finished == GENERATION_LIMIT:
        assert end.generation == strategy.generations, f"ended at generation {end.generation}"
    elif end.finished == ALL_FROZEN:
        assert len(end.prefix) == problem.space.blocks, f"only {end.prefix} is frozen"
        assert end.prefix in strategy.finalists(end), "the frozen architecture is no finalist"
    else:
        assert end.finished == EXHAUSTED, f"ended for another reason: {end.finished}"
        assert not legal(problem, end.prefix) - end.seen, "legal architectures are left"
    finalists = strategy.finalists(end)
    assert finalists, "no finalists"
    assert len(set(finalists)) == len(finalists), f"a finalist twice: {finalists}"
    assert set(finalists) <= legal(problem), "an illegal finalist"


def check_answers_are_required(strategy: Strategy, steps: Sequence[Step]) -> None:
    """Check that missing scores, and scores after the end, are refused by `InputError`."""
    first, last = steps[0], steps[-1]
    wrong = [(first.before, first.proposal, first.scores[:-1])] if first.scores else []
    for state, proposal, scores in [*wrong, (last.after, last.proposal, last.scores)]:
        told = False
        with suppress(InputError):
            strategy.tell(state, proposal, scores)
            told = True
        assert not told, "took scores that do not answer what was asked"


def legal(problem: Problem, prefix: Architecture = ()) -> set[Architecture]:
    """All legal architectures with a prefix, by looking at every architecture."""
    return {a for a in problem.space.enumerate(prefix) if keeps(problem, a)}


def keeps(problem: Problem, architecture: Architecture) -> bool:
    """Whether an architecture keeps all limits, by adding up its costs, exactly."""
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


def small_problems() -> list[Problem]:
    """Problems in small spaces: everything is legal, half of it, and a single architecture."""
    space = SearchSpace((3, 2, 4, 3))
    table = CostTable("flops", 1, ((5, 1, 3), (2, 9), (4, 5, 6, 1), (2, 3, 1)))
    costs = sorted(table.of(each) for each in space.enumerate())
    limits = (None, costs[len(costs) // 2], costs[0])
    tables = {table.name: table}
    return [Problem(space, Limits(space, limited(table, at_most)), tables) for at_most in limits]


def pretended_score(architecture: Architecture) -> Score:
    """A fixed score of any architecture: additive with a little noise, rounded so that ties occur.

    It is the same in every process.
    """
    noise = fraction(str(architecture))
    top1 = round(additive_value(architecture) + 0.05 * noise, 2)
    return Score(architecture, {"top1": top1}, round(1 - top1 + noise, 1))


def additive_value(architecture: Architecture) -> float:
    """The mean of one fixed value per block and choice, in [0, 1)."""
    values = [fraction(f"{block}:{choice}") for block, choice in enumerate(architecture)]
    return float(np.mean(values))


def fraction(text: str) -> float:
    """A number in [0, 1) that the text alone determines, in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def generator(seed: int, state: State) -> np.random.Generator:
    """The randomness of the next generation, as a search gives it."""
    return np.random.default_rng([seed, state.generation])


def trace(state: State) -> tuple[object, ...]:
    """The part of a state that a resumed search must know: all but the scores, which may be NaN."""
    told = (state.top, state.earlier, state.undominated)
    kept = [[score.architecture for score in scores] for scores in told]
    return (state.generation, state.prefix, state.population, kept, state.seen, state.finished)


def replayed(score: Score) -> Score:
    """A score as it comes back from its record."""
    return Score.from_record(json.loads(json.dumps(score.record())))


def limited(table: CostTable, at_most: float | None) -> tuple[Limit, ...]:
    """One limit on a table, or none."""
    return () if at_most is None else (Limit(table, at_most=at_most),)
