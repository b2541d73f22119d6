"""The plain worker: pure functions of a shard and architectures over one supernet replica.

The same class runs in the driver's process and inside Ray actors. Nothing that a call computes
depends on an earlier call, so any worker can run any call again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeVar, final

import numpy as np
import torch
from torch import Tensor

from raynas.devices import resolve_device
from raynas.errors import require
from raynas.evaluation.batch_norm.fixed import concatenate
from raynas.evaluation.batch_norm.statistics import FixedStatistics
from raynas.evaluation.batch_norm.vectors import NodeVectors, ShardStatistics
from raynas.evaluation.device import machine
from raynas.evaluation.device.cuda_graphs import Replays, replays_on
from raynas.evaluation.device.memory import halve_until_it_fits, undivided
from raynas.evaluation.device.numerics import numerics
from raynas.evaluation.input_check import InputCheck
from raynas.evaluation.nodes import Mode, NodeRunner, Run
from raynas.evaluation.outcomes import join_batches, judge_forest
from raynas.evaluation.scores import Outcomes
from raynas.evaluation.settings import Arithmetic, Evaluation
from raynas.evaluation.trie import Node, build_forest, executions, trunk, walk
from raynas.evaluation.weights import Weights
from raynas.shards.features import StoredFeatures
from raynas.shards.shard import Shard, gather
from raynas.shards.storage import encode, restore
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, NodePath
from raynas.supernets.unseen_writes import unseen_writers
from raynas.task import Task, classification_or

T = TypeVar("T")


@final
class Evaluator:
    """A worker that calibrates, scores and advances shards.

    A shard is one batch. Where its samples do not depend on each other and it does not fit in
    memory, it is scored or advanced in smaller batches, whose results may differ in their last
    bits; where it is normalised as a whole, that is an error.

    Args:
        supernet: the replica, which belongs to the evaluator from now on: its batch norms change,
            and run as one with the convolutions before them.
        settings: the evaluation protocol.
        task: how outputs are judged; classification among the supernet's classes if omitted.
        replays: launches the kernels of calibrating and scoring calls; CUDA graphs where there are
            any if omitted.
    """

    def __init__(
        self,
        supernet: ChainSupernet,
        settings: Evaluation,
        task: Task | None = None,
        replays: Replays | None = None,
    ) -> None:
        self.settings = settings
        self.device = resolve_device(settings.device)
        self.task = classification_or(task, supernet.num_classes)
        self._inputs = InputCheck(supernet.space.blocks, unseen_writers(supernet))
        with numerics(self.device, settings.full_arithmetic):
            self.supernet: ChainSupernet = supernet.to(self.device).eval()
            self._nodes = NodeRunner(self.supernet, self.device)
        self._replays = replays or replays_on(self.device)
        self._version = ""

    def take(self, weights: Weights) -> None:
        """Evaluate with these weights from now on, if they are not those it has already."""
        if weights.version != self._version:
            with numerics(self.device, self.settings.full_arithmetic):
                self._nodes.take(self.supernet, weights)
            # Recordings hold statistics of their own.
            self._replays.forget()
            self._version = weights.version

    @property
    def machine(self) -> dict[str, str]:
        """The machine that results depend on beside supernet, data and protocol."""
        return machine.machine_facts(self.device)

    def calibrate(
        self,
        shard: Shard,
        architectures: Sequence[Architecture],
        arithmetic: Arithmetic | None = None,
    ) -> ShardStatistics:
        """Batch-norm statistics of every node that the architectures reach from a shard.

        Args:
            shard: of the calibration split; its features are normalised as one batch.
            architectures: of full length, all starting with the shard's prefix.
            arithmetic: instead of that of the settings.

        Raises:
            InputError: another architecture, a module that modifies its input in place, or a shard
                that does not fit in memory.
        """
        forest = self._forest(shard, architectures)
        executed = executions(forest)
        paths = list(dict.fromkeys(executed))

        def compute(x: Tensor) -> tuple[Tensor, ...]:
            run, moments = self._nodes.under_batch(paths)
            walk(forest, x, self._inputs.around(run), lambda node, outputs: None)
            return (concatenate(moments, x.device),)

        chosen = arithmetic or self.settings.arithmetic
        key = ("calibrate", chosen, shard.prefix, tuple(architectures))

        def attempt() -> tuple[Tensor, ...]:
            x = restore(shard.stored, self.device, chosen.precision)
            return self._launch(key, paths, compute, (x,))

        with numerics(self.device, chosen), undivided(shard.rows), self._nodes.calibrating():
            (flat,) = self._replays.retry_unrecorded(attempt)
        recorded, calls = self._nodes.recorded(paths, flat)
        return ShardStatistics(recorded, self._blocks(executed) * shard.rows, calls=calls)

    def score(
        self,
        shard: Shard,
        architectures: Sequence[Architecture],
        statistics: FixedStatistics,
        arithmetic: Arithmetic | None = None,
    ) -> Outcomes:
        """The outcomes of each architecture on each sample of a shard.

        Args:
            shard: of the validation or test split.
            architectures: of full length, all starting with the shard's prefix.
            statistics: merged ones of every node that the architectures reach from the shard, or
                `"inherited"`.
            arithmetic: instead of that of the settings.

        Raises:
            InputError: another architecture, a module that modifies its input in place, or too
                little memory for one sample.
        """
        forest = self._forest(shard, architectures)
        executed = executions(forest)
        paths = list(dict.fromkeys(executed))
        chosen = arithmetic or self.settings.arithmetic

        def compute(x: Tensor, targets: Tensor, *on_device: Tensor) -> tuple[Tensor, ...]:
            run = self._nodes.under_fixed(paths, on_device, fold=chosen.fold_batch_norm)
            return judge_forest(forest, x, targets, self._inputs.around(run), self.task)

        key = ("score", chosen, shard.prefix, tuple(architectures))

        def attempt(size: int) -> list[np.ndarray]:
            batches = []
            for start in range(0, shard.rows, size):
                rows = slice(start, start + size)
                targets = torch.tensor(shard.targets[rows]).to(self.device)
                x = restore(shard.stored.select_rows(rows), self.device, chosen.precision)
                inputs = (x, targets, *on_device)
                batches.append(self._launch(key, paths, compute, inputs))
            return join_batches(batches)

        with numerics(self.device, chosen):
            on_device = self._nodes.on_device(statistics, paths)
            (*values, losses, finite), halvings = self._halving(shard.rows, attempt)
        named = dict(zip(self.task.objectives, values, strict=True))
        return Outcomes(named, losses, finite, self._blocks(executed) * shard.rows, halvings)

    def gather(
        self, shard: Shard, rows: Sequence[np.ndarray], weights: np.ndarray, *more: Shard
    ) -> tuple[Shard, int]:
        """Some samples of several depth-0 shards as one shard, which is one batch again.

        Args:
            shard: the first.
            rows: of each shard, the samples to keep, ascending.
            weights: the importance weights of all of them.
            more: the other shards.

        Returns:
            The shard, and how many samples it holds.
        """
        gathered = gather((shard, *more), rows, weights)
        return gathered, gathered.rows

    def advance(
        self,
        shard: Shard,
        prefix: Architecture,
        statistics: Mode,
        arithmetic: Arithmetic | None = None,
    ) -> tuple[Shard, ShardStatistics]:
        """The same samples behind a longer prefix, stored at the protocol's bits.

        Args:
            shard: behind a shorter prefix of `prefix`.
            prefix: the newly frozen choices, after those of the shard.
            statistics: `"batch"` for calibration shards; merged ones, or `"inherited"`, else.
            arithmetic: instead of that of the settings.

        Returns:
            The shard, and under `"batch"` the statistics of the blocks it went through.

        Raises:
            InputError: not a longer prefix that starts with the shard's, or too little memory.
        """
        depth = len(shard.prefix)
        require(
            self.supernet.space.validate_prefix(prefix)[:depth] == shard.prefix
            and len(prefix) > depth,
            "prefix",
            f"a longer one that starts with that of the shard, {list(shard.prefix)}",
            list(prefix),
            "Freeze further blocks; frozen ones stay as they are.",
        )
        paths = trunk(depth, prefix)
        chosen = arithmetic or self.settings.arithmetic
        with numerics(self.device, chosen):
            if statistics == "batch":
                with undivided(shard.rows), self._nodes.calibrating():
                    run, moments = self._nodes.under_batch(paths)
                    store = partial(self._store, shard, paths, run, chosen, shard.rows)
                    features, halvings = self._replays.retry_unrecorded(store), 0
                flat = concatenate(moments, self.device)
                recorded, calls = self._nodes.recorded(paths, flat)
            else:
                on_device = self._nodes.on_device(statistics, paths)
                run = self._nodes.under_fixed(paths, on_device, fold=chosen.fold_batch_norm)
                store = partial(self._store, shard, paths, run, chosen)
                features, halvings = self._halving(shard.rows, store)
                recorded, calls = NodeVectors.join({}), {}
        kept = (shard.targets, shard.samples, shard.weights)
        advanced = Shard.build(features, *kept, split=shard.split, prefix=prefix)
        executed = self._blocks(paths) * shard.rows
        return advanced, ShardStatistics(recorded, executed, halvings, calls)

    def _store(
        self, shard: Shard, paths: Sequence[NodePath], run: Run, chosen: Arithmetic, size: int
    ) -> StoredFeatures:
        """Run the nodes at `paths` in batches of a size, and store their output."""
        step = self._inputs.around(run)
        batches = []
        for start in range(0, shard.rows, size):
            rows = shard.stored.select_rows(slice(start, start + size))
            x = restore(rows, self.device, chosen.precision)
            for path in paths:
                x = step(path, x)
            # Scales are those of the whole shard, and the host has room for it.
            batches.append(x if size == shard.rows else x.cpu())
        whole = batches[0] if len(batches) == 1 else torch.cat(batches)
        return encode(whole, self.settings.bits)

    def _launch(
        self,
        key: Hashable,
        paths: Sequence[NodePath],
        compute: Callable[..., tuple[Tensor, ...]],
        inputs: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """Run a computation over nodes, by its recording where there is one.

        Inputs of modules that run for the first time are compared, for which the host waits.
        """
        if not self._inputs.covers(paths):
            return compute(*inputs)
        return self._replays.run(key, compute, inputs)

    def _halving(self, rows: int, attempt: Callable[[int], T]) -> tuple[T, int]:
        """Try all rows at once, then without recordings, and then fewer; see `memory`."""
        return halve_until_it_fits(
            rows, lambda size: self._replays.retry_unrecorded(partial(attempt, size))
        )

    def _forest(self, shard: Shard, architectures: Sequence[Architecture]) -> tuple[Node, ...]:
        prefix = shard.prefix
        for architecture in architectures:
            require(
                self.supernet.space.validate(architecture)[: len(prefix)] == prefix,
                "architecture",
                f"one that starts with the prefix of the shards, {list(prefix)}",
                list(architecture),
                "Score it on shards that are behind a prefix of it.",
            )
        return build_forest(prefix, architectures, sharing=self.settings.prefix_sharing)

    def _blocks(self, paths: Sequence[NodePath]) -> int:
        """The number of nodes that are choice blocks."""
        return sum(0 < len(path) <= self.supernet.space.blocks for path in paths)
