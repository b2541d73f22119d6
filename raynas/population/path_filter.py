"""Scoring paths of a supernet that is still trained, by the population evaluator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import final

import numpy as np

from raynas.data.splits import require_fresh
from raynas.errors import is_whole, require
from raynas.evaluation.settings import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.inspection import InspectedShards, Inspector
from raynas.shards.shard import VALIDATION, Shard
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import PlainState
from raynas.task import Task, classification_or
from raynas.workers.open_pool import open_pool
from raynas.workers.training_pool import TrainingPool

SAMPLES = 1_000
"""Validation samples that paths are compared on (GreedyNAS, section 3.2)."""

LOOKED_AT = frozenset(2**n for n in range(20)) | {0}
"""Rounds before which all attributes are looked at: it takes about as long as a step."""


@final
class PathFilter:
    """Losses of paths on some validation samples, under the weights of the moment.

    Paths that begin alike share their first blocks, and the shards are spread over the workers, as
    in a search. Parameters, buffers and plain values that modules keep are those of the moment; if
    other attributes change, paths are refused. Batch norm keeps the statistics of the training: the
    paper evaluates the network as it is. Samples are compared by groups of whole shards, one of
    which each round takes at random.

    Args:
        supernet: that is trained.
        pool: of workers that have it.
        validation: shards.
        evaluation: the protocol.
        samples: about how many of them each round takes.

    Raises:
        InputError: no samples, those of another split, or such as do not fit the supernet or the
            task.
    """

    def __init__(
        self,
        supernet: ChainSupernet,
        pool: TrainingPool,
        validation: Sequence[Shard],
        evaluation: Evaluation,
        samples: int = SAMPLES,
    ) -> None:
        self._supernet = supernet
        self._pool = pool
        self._evaluation = evaluation
        self._state = PlainState(supernet)
        self._rounds = 0
        task = classification_or(pool.settings.task, supernet.num_classes)
        inspector = Inspector(supernet.inputs, task)

        def inspect(shard: Shard) -> None:
            require_fresh(shard, VALIDATION)
            inspector(shard)

        self._evaluators = [
            PopulationEvaluator(pool, Splits((), group), evaluation, seed=0)
            for group in groups(InspectedShards(validation, inspect), samples)
        ]

    @property
    def block_forwards(self) -> int:
        """Executions of a block on a sample so far."""
        return sum(each.counters.block_forwards for each in self._evaluators)

    def losses(self, paths: Sequence[Architecture], rng: np.random.Generator) -> list[float]:
        """The mean loss of each path on one group of samples.

        Raises:
            InputError: the training changes attributes of modules that cannot be sent to workers.
        """
        if self._rounds in LOOKED_AT:
            self._require_plain()
        self._rounds += 1
        self._pool.take(self._supernet, self._state.changed())
        evaluator = self._evaluators[int(rng.integers(len(self._evaluators)))]
        return [score.loss for score in evaluator.score_again(paths)]

    def _require_plain(self) -> None:
        """Raise `InputError` if something changes that the replicas do not get."""
        found = self._state.otherwise_changed()
        require(
            not found,
            "supernet",
            "modules whose training changes parameters, buffers and plain values alone, which are "
            "all that paths are compared with",
            ", ".join(found),
            "Keep what changes in a buffer or a number, or train with other paths.",
        )

    def terms(self) -> str:
        """The samples by group, and what of protocol and task is not the default.

        A training may go on with other workers, and on another device.
        """
        samples = hashlib.blake2b(digest_size=16)
        for each in self._evaluators:
            samples.update(each.data_digest.encode())
        settings, usual = asdict(self._evaluation), asdict(Evaluation(batch_norm="inherit"))
        own = {
            name: value
            for name, value in settings.items()
            if value != usual[name] and name not in ("device", "threads", "prefix_sharing")
        }
        return json.dumps(
            {"samples": samples.hexdigest(), "task": self._pool.settings.judged} | own,
            sort_keys=True,
        )


@contextmanager
def open_path_filter(
    supernet: ChainSupernet,
    validation: Sequence[Shard],
    *,
    workers: int | None = 0,
    task: Task | None = None,
    evaluation: Evaluation | None = None,
    samples: int = SAMPLES,
) -> Iterator[PathFilter]:
    """A filter for the paths of a supernet that is about to be trained.

    Args:
        supernet: to be trained, as it is at any moment.
        validation: shards of samples that are not trained on.
        workers: 0 for this process; a number of Ray actors; `None` for as many as fit.
        task: how outputs are judged; classification if omitted.
        evaluation: precision, device and threads; batch norm is always inherited.
        samples: about how many samples paths are compared on.

    Raises:
        InputError: as `PathFilter` and `raynas.open_pool`, or statistics that are not inherited.
    """
    protocol = Evaluation(batch_norm="inherit") if evaluation is None else evaluation
    require(
        protocol.batch_norm == "inherit",
        "evaluation",
        "batch_norm='inherit'",
        repr(protocol.batch_norm),
        "Paths are filtered with the statistics of the training.",
    )
    with open_pool(supernet, protocol, workers, task=task, digest="") as pool:
        yield PathFilter(supernet, TrainingPool(pool), validation, protocol, samples)


def groups(shards: Iterable[Shard], samples: int) -> list[list[Shard]]:
    """Shards in groups of at least so many samples, but for the last samples left over.

    Raises:
        InputError: no samples, or a number below 1.
    """
    require(is_whole(samples) and samples >= 1, "samples", "at least 1", repr(samples), "Use 1000.")
    found: list[list[Shard]] = [[]]
    rows = 0
    for shard in shards:
        found[-1].append(shard)
        rows += shard.rows
        if rows >= samples:
            found.append([])
            rows = 0
    if len(found) > 1:
        # What is left over is too little to compare on.
        del found[-1]
    require(
        len(found[0]) > 0, "validation", "at least one shard", "none", "Give validation samples."
    )
    return found
