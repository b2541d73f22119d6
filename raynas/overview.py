"""A look at a supernet before it is searched: what its architectures cost, score and take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from raynas.costs import Constraint, CostTable
from raynas.errors import is_whole, require
from raynas.evaluation.settings import Evaluation
from raynas.preparation import open_evaluator, prepare, require_seed
from raynas.report.units import SECONDS, cost_text
from raynas.score import Score
from raynas.space import Architecture, encode

if TYPE_CHECKING:
    from raynas.data.splits import SearchData
    from raynas.supernets.chain import ChainSupernet
    from raynas.task import Task
    from raynas.workers.pool import Pool


@final
@dataclass(frozen=True)
class CostRange:
    """The costs of a space's architectures, from the cheapest to the dearest.

    Args:
        least: the cost of the cheapest architecture.
        most: that of the most expensive one.
        cheapest: the architecture itself.
        dearest: likewise.
    """

    least: int | float
    most: int | float
    cheapest: Architecture
    dearest: Architecture

    def text(self, name: str = "") -> str:
        """The range of the cost of a name, and the architectures at its ends, for a person."""
        ends = f"{encode(self.cheapest)} to {encode(self.dearest)}"
        if name == SECONDS:
            return f"{cost_text(name, self.least)} to {cost_text(name, self.most)} ms ({ends})"
        return f"{self.least:,} to {self.most:,} ({ends})"


@final
@dataclass(frozen=True)
class Overview:
    """An overview of what a search of a supernet would meet.

    Args:
        blocks: the number of choices of each block.
        architectures: how many there are.
        legal: how many of them the constraint allows; `None` where that cannot be counted.
        costs: the range of each cost, by name.
        paths: scores of a few random legal architectures under the full protocol.
        seconds: that one candidate takes, on one worker and by itself.
        names: of the choices of each block.
    """

    blocks: tuple[int, ...]
    architectures: int
    legal: int | None
    costs: Mapping[str, CostRange]
    paths: tuple[Score, ...]
    seconds: float
    names: tuple[tuple[str, ...], ...]

    def search_seconds(self, candidates: int, workers: int = 1) -> float:
        """About how long a search takes at most: shared prefixes and freezing make it shorter.

        Args:
            candidates: the population times the generations.
            workers: that evaluate side by side.
        """
        return candidates * self.seconds / max(workers, 1)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for a person to read."""
        return [
            ("choices of the blocks", " ".join(map(str, self.blocks))),
            ("their names", "; ".join(" ".join(block) for block in dict.fromkeys(self.names))),
            ("architectures", f"{self.architectures:,}"),
            (
                "legal architectures",
                "cannot be counted" if self.legal is None else f"{self.legal:,}",
            ),
            *((name, cost.text(name)) for name, cost in self.costs.items()),
            *((f"random path {encode(path.architecture)}", self.told(path)) for path in self.paths),
            ("seconds a candidate", f"{self.seconds:.3f}, by itself on one worker"),
        ]

    def told(self, path: Score) -> str:
        """A score, and the names of the choices that it is of."""
        pairs = zip(self.names, path.architecture, strict=True)
        return f"{path.text()} ({' '.join(own[choice] for own, choice in pairs)})"

    def __str__(self) -> str:
        """A line for each row."""
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def describe(
    supernet: ChainSupernet,
    data: SearchData,
    *,
    constraint: Constraint | None = None,
    evaluation: Evaluation | None = None,
    task: Task | None = None,
    paths: int = 4,
    workers: int | None = 0,
    seed: int = 0,
) -> Overview:
    """Describe what a search would meet, by evaluating a few random architectures.

    Args:
        supernet, data, constraint, evaluation, task: as those of `raynas.search`.
        paths: how many random architectures to score.
        workers: Ray actors; 0 evaluates in this process.
        seed: of the random architectures.

    Raises:
        InputError: as `raynas.search`.
    """
    require(is_whole(paths) and paths >= 1, "paths", "at least 1", repr(paths), "Score a few.")
    require_seed(seed)
    prepared = prepare(supernet, data, constraint, evaluation, task)
    limits = prepared.problem.limits
    draws = limits.draw((), np.random.default_rng(seed))
    wanted = [next(draws) for _ in range(paths)]
    with open_evaluator(prepared, workers) as evaluator:
        evaluator.score_in_full(wanted[:1])
        begun = time.perf_counter()
        evaluator.score_again(wanted[:1])
        seconds = time.perf_counter() - begun
        scores = prepared.problem.priced(evaluator.score_in_full(wanted))
    tables = prepared.problem.tables
    return Overview(
        supernet.space.choices,
        supernet.space.count(),
        limits.count(),
        {name: cost_range(table) for name, table in tables.items()},
        tuple(scores),
        seconds,
        supernet.names,
    )


def cost_range(table: CostTable) -> CostRange:
    """The cheapest and the dearest architecture of a table."""
    cheapest, dearest = table.cheapest(), table.dearest()
    return CostRange(table.of(cheapest), table.of(dearest), cheapest, dearest)


def evaluate(
    supernet: ChainSupernet,
    data: SearchData,
    architectures: Sequence[Sequence[int]],
    *,
    evaluation: Evaluation | None = None,
    task: Task | None = None,
    workers: int | None = 0,
    pool: Pool | None = None,
    ledger: Path | str | None = None,
) -> list[Score]:
    """Score architectures under the full protocol, as a search scores its finalists.

    For baselines: random architectures, hand-made ones, those of other searches.

    Args:
        supernet, data, evaluation, task, workers, pool, ledger: as those of `raynas.search`.
        architectures: one choice per block each.

    Returns:
        One score per architecture, with its costs, in the order given.

    Raises:
        InputError: as `raynas.search`, or an architecture that the supernet does not have.
    """
    prepared = prepare(supernet, data, None, evaluation, task)
    require(
        isinstance(architectures, Iterable),
        "architectures",
        "a list of architectures",
        repr(architectures),
        "Give one choice per block for each.",
    )
    wanted = [supernet.space.validate(each) for each in architectures]
    with open_evaluator(prepared, workers, pool, ledger) as evaluator:
        return prepared.problem.priced(evaluator.score_in_full(wanted))
