"""The plain worker: pure functions of a shard and architectures over one supernet replica.

The same class runs in the driver's process and inside Ray actors. Nothing that a call computes
depends on an earlier call, so any worker can run any call again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.data.features import StoredFeatures
from raynas.data.shard import Shard
from raynas.errors import InputError, require
from raynas.evaluation import batchnorm
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.folding import FoldedModule
from raynas.evaluation.quantize import channels_last, decode, encode
from raynas.evaluation.scores import ShardScores
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.trie import Node, build_forest, trunk, walk
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, Path, batch_norms

Mode = Statistics | Literal["batch", "inherited"]
"""Which batch-norm statistics a run uses: given ones, the batch's own, or the supernet's."""


@dataclass(frozen=True)
class ShardStatistics:
    """Batch-norm statistics of one calibration shard, by node, and the blocks executed for it."""

    statistics: dict[Path, np.ndarray]
    block_forwards: int


class Evaluator:
    """Calibrates, scores and advances shards.

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
            InputError: another architecture, or a module that modifies its input in place.
        """
        statistics: dict[Path, Tensor] = {}
        with self._protocol(exact):
            run = self._runner("batch", shard.rows, exact, statistics)
            forest = self._forest(shard, architectures)
            walk(forest, self._decode(shard.stored, exact), run, lambda node, logits: None)
        return ShardStatistics(to_numpy(statistics), self._block_forwards)

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
            InputError: another architecture, or a module that modifies its input in place.
        """
        results: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        with self._protocol(exact):
            labels = torch.tensor(shard.labels).to(self.device)

            def finish(node: Node, logits: Tensor) -> None:
                outcome = judge(logits, labels)
                results.update(dict.fromkeys(node.candidates, outcome))

            run = self._runner(statistics, shard.rows, exact)
            forest = self._forest(shard, architectures)
            walk(forest, self._decode(shard.stored, exact), run, finish)
        columns = zip(*(results[index] for index in range(len(architectures))), strict=True)
        correct, top5, losses, finite = (torch.stack(column).cpu().numpy() for column in columns)
        return ShardScores(correct, top5, losses, finite, self._block_forwards)

    def advance(
        self,
        shard: Shard,
        prefix: Architecture,
        statistics: Mode,
        rows: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        exact: bool = False,
    ) -> tuple[Shard, ShardStatistics]:
        """The same samples behind a longer prefix, stored at the protocol's bits.

        Args:
            shard: behind a shorter prefix of `prefix`.
            prefix: the newly frozen choices, after those of the shard.
            statistics: `"batch"` for calibration shards; merged ones, or `"inherited"`, else.
            rows: which samples to keep, ascending; all if omitted.
            weights: their importance weights; as they were if omitted.
            exact: in float32 and unfolded, whatever the settings say.

        Returns:
            The shard, and under `"batch"` the statistics of the blocks it went through.

        Raises:
            InputError: not a longer prefix that starts with the shard's.
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
        kept = np.arange(shard.rows) if rows is None else rows
        with self._protocol(exact):
            run = self._runner(statistics, len(kept), exact, recorded)
            x = self._decode(shard.stored.take(kept), exact)
            for path in trunk(depth, prefix):
                x = run(path, x)
            features = encode(x, self.settings.bits)
        advanced = Shard.build(
            features,
            shard.labels[kept],
            shard.samples[kept],
            shard.weights[kept] if weights is None else weights,
            split=shard.split,
            prefix=prefix,
        )
        return advanced, ShardStatistics(to_numpy(recorded), self._block_forwards)

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
        self, mode: Mode, rows: int, exact: bool, recorded: dict[Path, Tensor] | None = None
    ) -> Callable[[Path, Tensor], Tensor]:
        """A function that executes one node under the given statistics."""
        self._block_forwards = 0

        def run(path: Path, x: Tensor) -> Tensor:
            version = x._version
            if mode == "batch":
                y, vector = self._run_on_batch(path, x)
                if recorded is not None:
                    recorded[path] = vector
            else:
                y = self._run_on_fixed(path, x, mode, exact)
            if x._version != version:
                raise InputError(
                    f"supernet node {path}",
                    "modules that leave their input unchanged",
                    "one that modifies it in place",
                    "Do not apply in-place operations to a block's input.",
                )
            if 0 < len(path) <= self.supernet.space.blocks:
                self._block_forwards += rows
            return channels_last(y)

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

    def _run_on_fixed(
        self, path: Path, x: Tensor, mode: Statistics | Literal["inherited"], exact: bool
    ) -> Tensor:
        """Run a node under fixed statistics."""
        module = self.supernet.node(path)
        if mode == "inherited":
            vector = self._inherited[id(module)]
        else:
            vector = torch.tensor(mode[path]).to(self.device)
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

    @contextmanager
    def _protocol(self, exact: bool) -> Iterator[None]:
        """No gradients, the protocol's number of threads, and its precision."""
        threads = torch.get_num_threads()
        if self.device.type == "cpu" and threads != self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        try:
            with torch.no_grad(), self._numerics(), self._autocast(self._dtype(exact)):
                yield
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)

    def _autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _numerics(self) -> AbstractContextManager[None]:
        """On CUDA: float32 without TF32, and the same kernels in every process."""
        if self.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )


def judge(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top-1 bits, top-5 bits and losses of each sample, and whether all logits are finite."""
    logits = logits.to(torch.float32)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    losses = F.cross_entropy(logits, labels, reduction="none")
    return hits[:, 0], hits.any(1), losses, torch.isfinite(logits).all()


def to_numpy(statistics: dict[Path, Tensor]) -> dict[Path, np.ndarray]:
    """Statistics on the host."""
    return {path: vector.cpu().numpy() for path, vector in statistics.items()}


def resolve_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process; CUDA must be visible to it if it is asked for."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            "device", "a CUDA device", "none visible", "Use device='cpu', or give workers a GPU."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")
