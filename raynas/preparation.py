"""Arguments of a search, checked and completed before any long work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from raynas.costs import Constraint, resolve_limits
from raynas.costs.counting import counted_tables
from raynas.errors import InputError, is_whole, require, require_kind
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem, Strategy
from raynas.task import classification_or

if TYPE_CHECKING:
    from raynas.data.splits import SearchData
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.shards.inspection import Inspector
    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.identity import Identity
    from raynas.task import Task
    from raynas.workers.pool import Pool, PoolSettings

SEEDS = 2**64
"""Seeds are below this: more would not fit into a record that other programs read."""

logger = logging.getLogger("raynas")


@final
@dataclass(frozen=True)
class Prepared:
    """A supernet and data that fit each other, and what is searched in them.

    Args:
        supernet: checked.
        data: of the same classes; its samples are looked at by `inspect_data`.
        problem: the space and the limits.
        evaluation: the protocol; statistics are inherited where there is no batch norm.
        task: how outputs are judged.
    """

    supernet: ChainSupernet
    data: SearchData
    problem: Problem
    evaluation: Evaluation
    task: Task

    @cached_property
    def identity(self) -> Identity:
        """Everything about the supernet that a score can depend on."""
        from raynas.supernets.identity import identity

        return identity(self.supernet)

    @cached_property
    def inspect(self) -> Inspector:
        """The check of every shard as it is read."""
        from raynas.shards.inspection import Inspector

        selects = self.evaluation.sample_rate < 1.0
        return Inspector(self.supernet.inputs, self.task, selects=selects)

    def description(self) -> dict[str, Any]:
        """The part of `config.json` on supernet, data, task and constraint."""
        from raynas.supernets.value_digest import identity_of_task

        return {
            "supernet": {
                "digest": self.identity.digest,
                "choices": list(self.supernet.space.choices),
                "names": [list(names) for names in self.supernet.names],
                **self.identity.to_json(),
            },
            "data": {"name": self.data.name},
            "task": identity_of_task(self.task),
            "constraint": self.problem.limits.description() or None,
        }


def prepare(
    supernet: ChainSupernet,
    data: SearchData,
    constraint: Constraint | None,
    evaluation: Evaluation | None,
    task: Task | None,
) -> Prepared:
    """Check what a search is given; see `raynas.search` for the arguments.

    Raises:
        InputError: something that does not fit; nothing has been written by then.
    """
    from raynas.data.splits import SPLITS, SearchData, require_sequence
    from raynas.devices import resolve_device
    from raynas.evaluation.settings import protocol_for
    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.recalibration import require_recalibratable

    require_kind(supernet, ChainSupernet, "supernet", "Build one of stem, blocks and head.")
    require_kind(data, SearchData, "data", "Make it with raynas.data.from_arrays, or from_folder.")
    for split in SPLITS:
        require_sequence(getattr(data, split), split)
    given = Evaluation() if evaluation is None else evaluation
    require_kind(given, Evaluation, "evaluation", "Write it as raynas.Evaluation(bits=16).")
    judged = classification_or(task, supernet.num_classes)
    require_same_classes(supernet, data)
    require_validation(data)
    supernet.check(judged)
    protocol = protocol_for(supernet, given)
    resolve_device(protocol.device)
    limits = resolve_limits(constraint, supernet)
    # What a limit has counted is not counted again.
    tables = counted_tables(supernet, limits.tables)
    problem = Problem(supernet.space, limits, tables)
    prepared = Prepared(supernet, data, problem, protocol, judged)
    if protocol.batch_norm == "recalibrate":
        require_recalibratable(supernet)
    warn_of_slow_precision(protocol)
    return prepared


def inspect_data(prepared: Prepared) -> None:
    """Look at the data before any long work, as far as that is cheap.

    Raises:
        InputError: a split that cannot be used.
    """
    from raynas.data.splits import inspect_splits
    from raynas.task_trial import require_task_judges

    inspect_splits(prepared.data, prepared.inspect)
    if prepared.evaluation.batch_norm == "recalibrate":
        require_calibration(prepared.data)
    require_task_judges(prepared.supernet, prepared.data, prepared.task)


def require_calibration(data: SearchData) -> None:
    """Raise `InputError` unless there are samples that batch norm can be recalibrated on."""
    from raynas.population.frozen_shards import require_batches
    from raynas.shards.lazy import are_in_memory

    shards = data.calibration
    # Those that are decoded on access are counted only.
    require_batches(
        [shard.rows for shard in shards] if are_in_memory(shards) else [2] * len(shards)
    )


def require_validation(data: SearchData) -> None:
    """Raise `InputError` unless there are samples to score candidates on."""
    require(
        len(data.validation) > 0,
        "data",
        "at least one validation shard",
        f"none in {data.name}",
        "Give the search samples to score candidates on.",
    )


@contextmanager
def open_evaluator(
    prepared: Prepared,
    workers: int | None,
    pool: Pool | None = None,
    ledger: Path | str | None = None,
    seed: int = 0,
    *,
    dashboard: bool = False,
) -> Iterator[PopulationEvaluator]:
    """Score candidates on the caller's pool, which stays open, or on one of its own.

    Args:
        prepared: supernet, data, task and protocol.
        workers, pool, ledger, seed, dashboard: as those of `raynas.search`.
    """
    from raynas.ledger.ledger import Ledger
    from raynas.ledger.spaces import PricedSpace
    from raynas.population.evaluated import Known, Splits
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.supernets.identity import doubt
    from raynas.supernets.value_digest import identity_of_task
    from raynas.workers.open_pool import open_pool
    from raynas.workers.pool import PoolSettings

    data, protocol, task = prepared.data, prepared.evaluation, prepared.task
    inspect_data(prepared)
    digest, why = prepared.identity.digest, doubt(prepared.identity, task)
    if why and ledger is not None:
        told = "ledger=%s is not used: %s, so that another one could have the same digest."
        logger.warning(told, ledger, why)
        ledger = None
    if why and pool is not None:
        logger.warning("pool: %s, so that one that was opened for another is not refused.", why)
    with ExitStack() as stack:
        scores = stack.enter_context(Ledger(ledger))
        if ledger is not None:
            space = PricedSpace(prepared.supernet.names, prepared.problem.tables)
            scores.describe(digest, space)
        if pool is None:
            opened = open_pool(
                prepared.supernet, protocol, workers, task=task, digest=digest, dashboard=dashboard
            )
            pool = stack.enter_context(opened)
        else:
            require_pool(pool, PoolSettings(protocol, task, digest))
        yield PopulationEvaluator(
            pool,
            Splits(data.calibration, data.validation, data.test, prepared.inspect),
            protocol,
            seed,
            Known(scores, digest, identity_of_task(task)),
        )


def require_pool(pool: Pool, wanted: PoolSettings) -> None:
    """Raise `InputError` unless it is a pool, and one that was opened with these settings."""
    settings = getattr(pool, "settings", None)
    if settings is None:
        raise InputError(
            "pool",
            "an open pool of workers",
            f"a {type(pool).__name__}",
            "Open one with raynas.open_pool; a number of workers is workers=2.",
        )
    settings.require_same(wanted)


def require_seed(seed: int) -> None:
    """Raise `InputError` unless it is a whole number that numpy and records take."""
    require(
        is_whole(seed) and 0 <= seed < SEEDS,
        "seed",
        "a whole number from 0 to below 2**64",
        repr(seed),
        "Use a number such as 0.",
    )


def require_strategy(strategy: Strategy) -> None:
    """Raise `InputError` unless it is a strategy, and not its class or its name."""
    require_kind(strategy, Strategy, "strategy", "Write it as strategy=raynas.PCFES().")


def require_suited(strategy: Strategy, problem: Problem) -> None:
    """See that a strategy suits a problem, and does something with every cost that is stated.

    Raises:
        InputError: as `Strategy.check`, or a cost that it does not minimise is stated without a
            bound.
    """
    strategy.check(problem)
    costs = (limit.table.name for limit in problem.limits.limits if not limit.bounded)
    idle = [name for name in costs if name not in strategy.minimised()]
    require(
        not idle,
        "constraint",
        f"a bound on {', '.join(idle)}, or a strategy that minimises it",
        f"neither, with {type(strategy).__name__}",
        "State at_most or at_least, or name it in raynas.NSGA2(costs=…).",
    )


def require_same_classes(supernet: ChainSupernet, data: SearchData) -> None:
    """Raise `InputError` unless the supernet has one logit for each class of the data."""
    require(
        supernet.num_classes is None or data.num_classes is not None,
        "supernet",
        f"no num_classes beside {data.name}, which has no classes",
        supernet.num_classes,
        "Leave num_classes out, and give a task, such as raynas.PerSample(function).",
    )
    require(
        supernet.num_classes is None or supernet.num_classes == data.num_classes,
        "supernet",
        f"{data.num_classes} classes, as {data.name} has",
        supernet.num_classes,
        "Build the supernet with num_classes of the data.",
    )


def warn_of_slow_precision(evaluation: Evaluation) -> None:
    """Say where a low precision is slower on this machine than float32."""
    from raynas.evaluation.device.machine import computes_fast_in

    if not computes_fast_in(evaluation.precision, evaluation.device):
        logger.warning(
            "precision=%r: this processor has no instructions for it, so that candidates take "
            "longer than in float32, which is exact. Leave it out here.",
            evaluation.precision,
        )
