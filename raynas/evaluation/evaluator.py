"""The plain worker: pure functions of a shard and architectures over one supernet replica.

The same class runs in the driver's process and inside Ray actors. Nothing that a call computes
depends on an earlier call, so any worker can run any call again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raynas.data.features import StoredFeatures
from raynas.data.shard import Shard, gather
from raynas.errors import InputError, require
from raynas.evaluation import batchnorm, machine
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.folding import FoldedModule
from raynas.evaluation.judging import join_batches, judge_forest
from raynas.evaluation.memory import halve_until_it_fits, undivided
from raynas.evaluation.numerics import numerics, resolve_device
from raynas.evaluation.quantize import channels_last, decode, encode
from raynas.evaluation.scores import ShardScores
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.statistics import ShardStatistics
from raynas.evaluation.timing import Stopwatch
from raynas.evaluation.trie import Node, build_forest, trunk, walk
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, Path, batch_norms

Mode = Statistics | Literal["batch", "inherited"]
"""Which batch-norm statistics a run uses: given ones, the batch's own, or the supernet's."""

Fixed = Mapping[Path, Tensor] | Literal["inherited"]
"""Statistics that do not depend on the batch, on the device."""


class Evaluator:
    """Calibrates, scores and advances shards.

    A shard is one batch. Where its samples do not depend on each other and it does not fit in
    memory, it is scored or advanced in smaller batches, whose results may differ in their last
    bits; where it is normalised as a whole, that is an error.

    Args:
        supernet: the replica; its batch-norm buffers belong to the evaluator from now on.
        settings: the evaluation protocol.
    """

    def __init__(self, supernet: ChainSupernet, settings: Evaluation) -> None:
        self.settings = settings
        self.device = resolve_device(settings.device)
        self.supernet = supernet.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        modules = [supernet.stem, *(c for block in supernet.blocks for c in block), supernet.head]  # type: ignore[attr-defined]
        self._norms = {id(module): batch_norms(module) for module in modules}
        self._inherited = {
            id(module): batchnorm.gather(self._norms[id(module)], self.device) for module in modules
        }
        self._folded = {
            id(module): FoldedModule(module) for module in modules if settings.fold_batch_norm
        }
        self._block_forwards = 0
        self._watch = Stopwatch(self.device)

    @property
    def machine(self) -> dict[str, str]:
        """What this evaluator's results depend on beside supernet, data and protocol."""
        return machine.describe(self.device)

    def calibrate(
        self,
        shard: Shard,
        architectures: Sequence[Architecture],
        exact: bool = False,
    ) -> ShardStatistics:
        """Batch-norm statistics of every node that the architectures reach from a shard.

        Args:
            shard: of the calibration split; its features are normalised as one batch.
            architectures: of full length, all starting with the shard's prefix.
            exact: in float32 and unfolded, whatever the settings say.

        Raises:
            InputError: another architecture, a module that modifies its input in place, or a shard
                that does not fit in memory.
        """
        statistics: dict[Path, Tensor] = {}
        with self._protocol(exact), undivided(shard.rows):
            run = self._runner("batch", exact, statistics)
            forest = self._forest(shard, architectures)
            walk(forest, self._decode(shard.stored, exact), run, lambda node, logits: None)
        times = self._watch.read()
        return ShardStatistics(batchnorm.pack(statistics), self._block_forwards, times=times)

    def score(
        self,
        shard: Shard,
        architectures: Sequence[Architecture],
        statistics: Statistics | Literal["inherited"],
        exact: bool = False,
    ) -> ShardScores:
        """Correct bits and losses of each architecture on each sample of a shard.

        Args:
            shard: of the validation or test split.
            architectures: of full length, all starting with the shard's prefix.
            statistics: merged ones of every node that the architectures reach from the shard, or
                `"inherited"`.
            exact: in float32 and unfolded, whatever the settings say.

        Raises:
            InputError: another architecture, a module that modifies its input in place, or too
                little memory for one sample.
        """
        forest = self._forest(shard, architectures)

        def attempt(size: int) -> list[np.ndarray]:
            run = self._runner(statistics, exact)
            batches = []
            for start in range(0, shard.rows, size):
                rows = slice(start, start + size)
                labels = torch.tensor(shard.labels[rows]).to(self.device)
                x = self._decode(shard.stored.take(rows), exact)
                batches.append(judge_forest(forest, x, labels, run))
            return join_batches(batches)

        with self._protocol(exact):
            outcomes, halvings = halve_until_it_fits(shard.rows, attempt)
        correct, top5, losses, finite = outcomes
        times = self._watch.read()
        return ShardScores(correct, top5, losses, finite, self._block_forwards, halvings, times)

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
        exact: bool = False,
    ) -> tuple[Shard, ShardStatistics]:
        """The same samples behind a longer prefix, stored at the protocol's bits.

        Args:
            shard: behind a shorter prefix of `prefix`.
            prefix: the newly frozen choices, after those of the shard.
            statistics: `"batch"` for calibration shards; merged ones, or `"inherited"`, else.
            exact: in float32 and unfolded, whatever the settings say.

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
        recorded: dict[Path, Tensor] = {}

        def attempt(size: int) -> StoredFeatures:
            run = self._runner(statistics, exact, recorded)
            batches = []
            for start in range(0, shard.rows, size):
                x = self._decode(shard.stored.take(slice(start, start + size)), exact)
                for path in trunk(depth, prefix):
                    x = run(path, x)
                # Scales are those of the whole shard, and the host has room for it.
                batches.append(x if size == shard.rows else x.cpu())
            whole = batches[0] if len(batches) == 1 else torch.cat(batches)
            return encode(whole, self.settings.bits)

        halvings = 0
        with self._protocol(exact):
            if statistics == "batch":
                with undivided(shard.rows):
                    features = attempt(shard.rows)
            else:
                features, halvings = halve_until_it_fits(shard.rows, attempt)
        advanced = Shard.build(
            features,
            shard.labels,
            shard.samples,
            shard.weights,
            split=shard.split,
            prefix=prefix,
        )
        times = self._watch.read()
        return advanced, ShardStatistics(
            batchnorm.pack(recorded), self._block_forwards, halvings, times
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

    def _runner(
        self, mode: Mode, exact: bool, recorded: dict[Path, Tensor] | None = None
    ) -> Callable[[Path, Tensor], Tensor]:
        """A function that executes one node under the given statistics."""
        self._block_forwards = 0
        watch = self._watch = Stopwatch(self.device)
        fixed = mode if isinstance(mode, str) else batchnorm.place(mode, self.device)

        def run(path: Path, x: Tensor) -> Tensor:
            begun = watch.mark()
            version = x._version
            if fixed == "batch":
                y, vector = self._run_on_batch(path, x)
                if recorded is not None:
                    recorded[path] = vector
            else:
                y = self._run_on_fixed(path, x, fixed, exact)
            if x._version != version:
                raise InputError(
                    f"supernet node {path}",
                    "modules that leave their input unchanged",
                    "one that modifies it in place",
                    "Do not apply in-place operations to a block's input.",
                )
            if 0 < len(path) <= self.supernet.space.blocks:
                self._block_forwards += len(x)
            y = channels_last(y)
            watch.lap(path, len(x), begun)
            return y

        return run

    def _run_on_batch(self, path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run a node under the batch's own statistics, and these."""
        module = self.supernet.node(path)
        norms = self._norms[id(module)]
        vector = torch.zeros(batchnorm.vector_size(norms), device=self.device)
        batchnorm.assign(norms, vector)
        batchnorm.set_calibrating(norms, True)
        try:
            return module(x), vector
        finally:
            batchnorm.set_calibrating(norms, False)

    def _run_on_fixed(self, path: Path, x: Tensor, fixed: Fixed, exact: bool) -> Tensor:
        """Run a node under fixed statistics."""
        module = self.supernet.node(path)
        vector = self._inherited[id(module)] if fixed == "inherited" else fixed[path]
        if self.settings.fold_batch_norm and not exact:
            folded = self._folded[id(module)]
            folded.assign(vector)
            return folded(x)
        batchnorm.assign(self._norms[id(module)], vector)
        y: Tensor = module(x)
        return y

    def _decode(self, stored: StoredFeatures, exact: bool) -> Tensor:
        """Stored features on the device, as the blocks before them left them."""
        x = decode(stored, self.device)
        return x if x.dtype == torch.uint8 else x.to(self._dtype(exact))

    def _dtype(self, exact: bool) -> torch.dtype:
        """What convolutions compute in."""
        dtype: torch.dtype = getattr(torch, "float32" if exact else self.settings.precision)
        return dtype

    def _protocol(self, exact: bool) -> AbstractContextManager[None]:
        """No gradients, the protocol's number of threads, and its precision."""
        return numerics(self.device, self.settings.threads, self._dtype(exact))
