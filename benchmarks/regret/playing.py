"""Searches played on tables: one search, many seeds of one setting, and how they compare."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from table_pool import OutcomeSource, TablePool

import raynas
from raynas.commands.named_strategies import StrategyName, make_strategy
from raynas.evolution.strategy import Problem
from raynas.generation import Run
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.runlog import RunLog
from raynas.score import rank_key
from raynas.search import finish
from raynas.space import Architecture
from raynas.testing.tables import Table

MEMORY = next((str(path) for path in (Path("/dev/shm"),) if path.is_dir()), None)
"""Where the records of a played search go: a file system that does not wait for a disk."""


@dataclass(frozen=True)
class Population:
    """The settings that all strategies share.

    Args:
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many of the best are parents.
    """

    population: int = 25
    generations: int = 10
    top_k: int = 8


@dataclass(frozen=True)
class Setting:
    """A way to search.

    Args:
        name: of the row.
        strategy: which one.
        options: of `Evaluation`.
        threshold: the choice percentage at which CF-ES and PCF-ES freeze.
        monitor: the most blocks that a later freeze takes.
    """

    name: str
    strategy: StrategyName
    options: dict[str, Any] = field(default_factory=dict)
    threshold: float = 0.6
    monitor: int = 3


@dataclass(frozen=True)
class Truth:
    """The goal of a search: the best legal architecture under the full protocol.

    Args:
        table: under the full protocol.
        problem: the space and the limits.
        best: the best legal architecture.
    """

    table: Table
    problem: Problem
    best: Architecture

    @staticmethod
    def of(table: Table, problem: Problem) -> Truth:
        """Find the best legal architecture."""
        legal = [a for a in problem.space.enumerate() if problem.limits.allows(a)]
        return Truth(table, problem, min(table.scores(legal), key=rank_key).architecture)

    def regret(self, architecture: Architecture) -> float:
        """How much worse than the best it is, in points of top-1."""
        best, found = self.table.scores([self.best, architecture])
        return 100.0 * (best.top1 - found.top1)


def play(
    truth: Truth,
    setting: Setting,
    shared: Population,
    outcomes: OutcomeSource,
    data: raynas.data.SearchData,
    seed: int,
) -> dict[str, Any]:
    """One search, its winner chosen as `raynas.search` chooses it, as one row.

    Args:
        truth: what is to be found.
        setting: how to search.
        shared: the settings that all strategies share.
        outcomes: under the protocol that candidates are ranked under.
        data: the splits that the tables are of.
        seed: of the search.
    """
    # Nothing is computed: the precision tells the pool's ranking calls from those in full.
    options = {"precision": "bfloat16", **setting.options}
    settings = raynas.Evaluation(device="cpu", **options)  # type: ignore[arg-type]
    pool = TablePool(outcomes, truth.table, sharing=settings.prefix_sharing)
    strategy = make_strategy(
        setting.strategy,
        **asdict(shared),
        threshold=setting.threshold,
        monitor=setting.monitor,
    )
    splits = Splits(data.calibration, data.validation)
    evaluator = PopulationEvaluator(pool, splits, settings, seed)
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        RunLog(Path(folder), {"seed": seed}, resume=False) as log,
    ):
        run = Run(truth.problem, strategy, evaluator, log, seed, lambda record, metrics: None)
        state = finish(run)
        generations = log.generations
    finalists = strategy.finalists(state)
    scores = evaluator.score_in_full(finalists)
    return {
        "seed": seed,
        "regret": truth.regret(min(scores, key=rank_key).architecture),
        "evaluations": sum(len(g["rescored"]) + len(g["population"]) for g in generations),
        "finalists": len(finalists),
        "block_forwards": evaluator.counters.block_forwards,
        "frozen": [generation["frozen"] for generation in generations],
        "finished": state.finished,
    }


def summarize(rows: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds with their standard errors, and differences from EA seed by seed.

    Args:
        rows: one per seed.
        baseline: EA's, on the same seeds.
    """

    def values(of: Sequence[dict[str, Any]], key: str) -> np.ndarray:
        return np.array([row[key] for row in of], dtype=np.float64)

    regret = values(rows, "regret")
    differences = regret - values(baseline, "regret")
    forwards = values(rows, "block_forwards")
    return {
        "regret": float(regret.mean()),
        "regret_se": standard_error(regret),
        "worst_regret": float(regret.max()),
        "found_best": float((regret == 0).mean()),
        "minus_ea": float(differences.mean()),
        "minus_ea_se": standard_error(differences),
        "evaluations": float(values(rows, "evaluations").mean()),
        "block_forwards": float(forwards.mean()),
        "fewer_block_forwards": float(values(baseline, "block_forwards").mean() / forwards.mean()),
        "frozen": float(np.mean([row["frozen"][-1] for row in rows])),
    }


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
