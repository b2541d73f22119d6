"""What a search is given, checked and completed before any long work."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from raynas.costs import Constraint, resolve_limits
from raynas.errors import InputError, require, require_type
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Problem
from raynas.task import Classification, classification_or

if TYPE_CHECKING:
    from torch import Tensor

    from raynas.data.splits import SearchData
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.shards.inspection import Inspector
    from raynas.shards.shard import Shard
    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.identity import Identity
    from raynas.task import Task
    from raynas.workers.pool import Pool

SEEDS = 2**64
"""Seeds are below this: more would not fit into a record that other programs read."""

TRIED = 8
"""Validation samples on which a task of a user is tried."""

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

        return Inspector(self.supernet.inputs, self.task)

    def description(self) -> dict[str, Any]:
        """The part of `config.json` on supernet, data, task and constraint."""
        return {
            "supernet": {
                "digest": self.identity.digest,
                "choices": list(self.supernet.space.choices),
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
    from raynas.evaluation.device.numerics import resolve_device
    from raynas.evaluation.evaluator import protocol_for
    from raynas.supernets.recalibration import require_recalibratable

    require_types(supernet, data, evaluation)
    judged = classification_or(task, supernet.num_classes)
    require_same_classes(supernet, data)
    require(
        len(data.validation) > 0,
        "data",
        "at least one validation shard",
        f"none in {data.name}",
        "Give the search samples to score candidates on.",
    )
    supernet.check(judged)
    protocol = protocol_for(supernet, evaluation or Evaluation())
    resolve_device(protocol.device)
    problem = Problem(supernet.space, resolve_limits(constraint, supernet))
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

    inspect_splits(prepared.data, prepared.inspect)
    if prepared.evaluation.batch_norm == "recalibrate":
        require_batches(prepared.data.calibration)
    require_task_judges(prepared)


@contextmanager
def open_evaluator(
    prepared: Prepared,
    workers: int | None,
    pool: Pool | None = None,
    ledger: Path | str | None = None,
    seed: int = 0,
) -> Iterator[PopulationEvaluator]:
    """Score candidates on the caller's pool, which stays open, or on one of its own.

    Args:
        prepared: what to evaluate, and how.
        workers, pool, ledger, seed: as those of `raynas.search`.
    """
    from raynas.ledger.ledger import Ledger
    from raynas.population.evaluator import Known, PopulationEvaluator, Splits
    from raynas.workers.open_pool import open_pool
    from raynas.workers.pool import PoolSettings

    data, protocol, task = prepared.data, prepared.evaluation, prepared.task
    inspect_data(prepared)
    digest = prepared.identity.digest
    if ledger is not None and not prepared.identity.complete:
        logger.warning(
            "ledger=%s is not used: the supernet could not be run on examples, so that another one "
            "could have the same digest.",
            ledger,
        )
        ledger = None
    with ExitStack() as stack:
        scores = stack.enter_context(Ledger(ledger))
        if pool is None:
            opened = open_pool(prepared.supernet, protocol, workers, task=task, digest=digest)
            pool = stack.enter_context(opened)
        else:
            pool.settings.require_same(PoolSettings(protocol, task, digest))
        yield PopulationEvaluator(
            pool,
            Splits(data.calibration, data.validation, data.test, prepared.inspect),
            protocol,
            seed,
            Known(scores, digest, identity_of_task(task)),
        )


def identity_of_task(task: Task) -> dict[str, Any]:
    """A task as a JSON object that changes with the code of its function."""
    from raynas.supernets.value_digest import value_digest

    described = task.description()
    return (
        described if isinstance(task, Classification) else {**described, "code": value_digest(task)}
    )


def require_task_judges(prepared: Prepared) -> None:
    """See that the task of a user can judge what the supernet gives on a few validation samples.

    Raises:
        InputError: its function raises, gives something else than two numbers for each sample, or
            gives others the second time.
    """
    from raynas.supernets.chain_nodes import examined_copy, on_meta
    from raynas.supernets.plain_torch import plain_torch, seed_generators
    from raynas.supernets.probing import same_bits

    task = prepared.task
    if isinstance(task, Classification):
        return
    import torch

    shard = prepared.data.validation[0]
    with plain_torch():
        replica = examined_copy(prepared.supernet)
        if on_meta(replica):
            return
        first = (0,) * replica.space.blocks
        outputs = replica(torch.tensor(shard.features[:TRIED]), first)
        judged = []
        for _ in range(2):
            given = outputs.clone()[None], torch.tensor(shard.targets[:TRIED])
            judged.append(judge_once(task, *given))
        seed_generators()
        judged.append(judge_once(task, outputs.clone()[None], torch.tensor(shard.targets[:TRIED])))
    require(
        all(
            same_bits(one, another)
            for later in judged[1:]
            for one, another in zip(judged[0], later, strict=True)
        ),
        "task",
        "the same scores and losses for the same outputs",
        "others the second time",
        "Leave random numbers, and what the function remembers, out of it.",
    )


def judge_once(task: Task, outputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The values and losses of one candidate; what the task's function raises names the task."""
    from raynas.supernets.chain_nodes import describe_error

    try:
        values, losses = task.judge(outputs, targets)
    except InputError:
        raise
    # Functions of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            "task",
            f"a function that judges outputs {list(outputs.shape[1:])} of type {outputs.dtype} by "
            f"targets {list(targets.shape)} of type {targets.dtype}",
            describe_error(error),
            "Mend the function, or the targets.",
        ) from error
    return [*values.values(), losses]


def require_types(supernet: object, data: object, evaluation: object) -> None:
    """Raise `InputError` unless arguments are of the classes that a search takes."""
    from raynas.data.splits import SPLITS, SearchData, require_sequence
    from raynas.supernets.chain import ChainSupernet

    require_type(
        supernet,
        ChainSupernet,
        "supernet",
        "Build raynas.ChainSupernet(stem, blocks, head, …) of your modules.",
    )
    require_type(
        data,
        SearchData,
        "data",
        "Make it with raynas.data.from_arrays, from_folder or from_datasets.",
    )
    for split in SPLITS:
        require_sequence(getattr(data, split), split)
    if evaluation is not None:
        require_type(evaluation, Evaluation, "evaluation", "Give raynas.Evaluation(…).")


def require_path(path: object, argument: str) -> None:
    """Raise `InputError` unless a value can be a path."""
    require(
        isinstance(path, str | Path) and "\0" not in str(path),
        argument,
        "a path, str or pathlib.Path",
        repr(path),
        "Give the path of a file or directory.",
    )


def require_seed(seed: int) -> None:
    """Raise `InputError` unless it is a whole number that numpy and records take."""
    require(
        isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= seed < SEEDS,
        "seed",
        "a whole number from 0 to below 2**64",
        repr(seed),
        "Use a number such as 0.",
    )


def require_same_classes(supernet: ChainSupernet, data: SearchData) -> None:
    """Raise `InputError` unless the supernet has one logit for each class of the data."""
    require(
        supernet.num_classes is None or supernet.num_classes == data.num_classes,
        "supernet",
        f"{data.num_classes} classes, as {data.name} has",
        supernet.num_classes,
        "Build the supernet with num_classes of the data.",
    )


def require_batches(calibration: Sequence[Shard]) -> None:
    """Raise `InputError` unless there are shards that batch norm can be computed on.

    All shards in memory are looked at, and none that are decoded on access.
    """
    in_memory = isinstance(calibration, list | tuple)
    rows = [shard.rows for shard in calibration] if in_memory else []
    require(
        len(calibration) > 0 and min(rows, default=2) > 1,
        "calibration",
        "shards of at least two samples each",
        rows,
        "Give more calibration samples or larger shards, or use batch_norm='inherit'.",
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
