"""Running single nodes of a supernet under fixed batch-norm statistics or the batch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.counting import counting_kinds, own_kinds
from raynas.evaluation.batch_norm.fixed import Fixed, NodeNorms, concatenate, prepare
from raynas.evaluation.batch_norm.joined import join_pairs
from raynas.evaluation.batch_norm.statistics import (
    AveragedCalls,
    FixedStatistics,
    Statistics,
)
from raynas.evaluation.batch_norm.vectors import Layer, NodeVectors
from raynas.evaluation.trie import kind_of
from raynas.evaluation.weights import Weights, fill
from raynas.supernets.chain import ChainSupernet, NodeKind, NodePath
from raynas.supernets.layout import choose_layouts, modules_of
from raynas.supernets.training_mode import trained_norms

Mode = Statistics | Literal["batch", "inherited"]
"""The batch-norm statistics of a run: given ones, the batch's own, or the supernet's."""

DeviceStatistics = tuple[Tensor, ...]
"""Fixed statistics of nodes on the device: one vector of all, one after another, `float32`; nothing
for the supernet's own."""

Run = Callable[[NodePath, Tensor], Tensor]
"""A function that executes the node at a path."""


@final
@dataclass
class CachedStatistics:
    """Statistics that were copied to the device, and the layers made of them.

    Args:
        statistics: on the host.
        paths: the nodes that they are of.
        on_device: a copy of all of them.
        fixed: the layers for each node, once they were needed.
    """

    statistics: Statistics
    paths: Sequence[NodePath]
    on_device: DeviceStatistics
    fixed: dict[NodePath, Fixed] | None = None

    def is_of(self, statistics: Statistics, paths: Sequence[NodePath]) -> bool:
        """Whether these nodes have the same statistics there: the same object, or store memory."""
        mine = self.statistics
        return self.paths == paths and isinstance(mine, NodeVectors) and mine.is_same(statistics)


@final
class NodeRunner:
    """Runs the nodes of one replica.

    Args:
        supernet: the replica, on its device and in evaluation mode. Its batch norms change, and
            run as one with the convolutions before them.
        device: that it is on.
    """

    def __init__(self, supernet: ChainSupernet, device: torch.device) -> None:
        self._device = device
        self._own_layout = choose_layouts(supernet, device)
        self._own_code = own_kinds(supernet)
        self._counting = counting_kinds(supernet, self._own_code, device)
        self._modules = modules_of(supernet)
        trained = {id(norm) for each in self._modules.values() for norm in trained_norms(each)}
        join_pairs(supernet)
        self._read_norms()
        layers = {id(layer): layer for _, norms in self._nodes.values() for layer in norms.layers}
        for layer in layers.values():
            vars(layer)["forward"] = AveragedCalls(layer)
        self._layers = [layer for layer in layers.values() if id(layer) in trained]

    def take(self, supernet: ChainSupernet, weights: Weights) -> None:
        """Compute with other weights and statistics from now on.

        Args:
            supernet: the replica.
            weights: of the supernet that it is a replica of.
        """
        fill(supernet, weights, self._device)
        with torch.no_grad():
            self._read_norms()

    def _read_norms(self) -> None:
        """Read the parameters and statistics of all batch norms as the supernet has them."""
        # A module in several places has the same norms in all of them.
        modules = self._modules
        norms = {id(module): NodeNorms(module, self._device) for module in modules.values()}
        self._nodes = {kind: (module, norms[id(module)]) for kind, module in modules.items()}
        nodes = [node for _, node in self._nodes.values()]
        running = torch.cat([batch_stats.read(node.layers, self._device) for node in nodes])
        self._cached: CachedStatistics | None = None
        self._inherited = dict(zip(self._nodes, prepare(nodes, running), strict=True))

    def under_fixed(
        self, paths: Sequence[NodePath], statistics: DeviceStatistics, *, fold: bool
    ) -> Run:
        """A function that runs nodes under fixed statistics.

        Args:
            paths: the nodes, each once.
            statistics: theirs, as `on_device` copies them.
            fold: into the weights of convolutions where possible, which rounds otherwise.
        """
        fixed = self._fixed(paths, statistics)

        def run(path: NodePath, x: Tensor) -> Tensor:
            kind = kind_of(path)
            self._nodes[kind][1].assign(fixed[path], fold=fold)
            return self._call(kind, x)

        return run

    def under_batch(self, paths: Sequence[NodePath]) -> tuple[Run, Sequence[Tensor]]:
        """A function that runs nodes under the batch's own statistics, while `calibrating`.

        Args:
            paths: the nodes, each once.

        Returns:
            It, and the tensors that receive the statistics of all nodes, one after another, and
            what `recorded` reads from them besides. They hold the supernet's own before, which
            stay where a layer does not record any.
        """
        # All nodes write into one vector, which is copied from the device at once. It starts as the
        # supernet's own statistics, for layers that record none: frozen ones, or never run.
        nodes = [self._nodes[kind_of(path)][1] for path in paths]
        buffer = concatenate([node.own for node in nodes], self._device)
        sizes = [size for node in nodes for size in node.sizes for _ in range(2)]
        moments = batch_stats.parts_of(buffer, sizes)
        stops = accumulate(2 * len(node.sizes) for node in nodes)
        spans = zip(paths, pairwise([0, *stops]), strict=True)
        buffers = {path: moments[start:stop] for path, (start, stop) in spans}
        # Among what is copied from the device, since a call that is replayed runs no Python.
        watched = self._watched(paths)
        calls = torch.ones(sum(map(len, watched.values())), device=self._device)
        counts = dict(zip(watched, calls.split([*map(len, watched.values())]), strict=True))

        def run(path: NodePath, x: Tensor) -> Tensor:
            kind = kind_of(path)
            norms = self._nodes[kind][1]
            norms.set_buffers(buffers[path])
            if kind in self._counting:
                return self._count(kind, x, buffers[path], counts[path])
            batch_stats.start_averages(norms.layers)
            y = self._call(kind, x)
            if not norms.uniform or path in counts:
                batch_stats.take_back(norms.layers, buffers[path])
            if path in counts:
                norms.count_calls(buffers[path], counts[path])
            if norms.broken:
                norms.spoil(buffers[path], [layer.momentum != 1.0 for layer in norms.layers])
            return y

        return run, [*moments, calls]

    def _call(self, kind: NodeKind, x: Tensor) -> Tensor:
        """Run a module on an input in the layout that it takes."""
        y: Tensor = self._nodes[kind][0](x.contiguous() if kind in self._own_layout else x)
        # Tensors made in inference mode cannot be watched for changes.
        return y.clone() if y.is_inference() else y

    def _count(self, kind: NodeKind, x: Tensor, buffers: Sequence[Tensor], calls: Tensor) -> Tensor:
        """Run a module under torch's cumulative average, which ends in the buffers.

        Args:
            kind: of the module.
            x: its input.
            buffers: mean and variance of each layer by turns, which receive what is recorded.
            calls: `float32[layers]` of ones, which receives how often each was called.
        """
        norms = self._nodes[kind][1]
        layers = norms.layers
        counters = batch_stats.start_counters(layers)
        y = self._call(kind, x)
        counted = batch_stats.stop_counters(layers, counters)
        batch_stats.take_back(layers, buffers)
        for index in (index for index, count in enumerate(counted) if count != 1):
            calls[index].fill_(counted[index])
        norms.spoil(buffers, [count > 0 for count in counted])
        return y

    def _watched(self, paths: Sequence[NodePath]) -> dict[NodePath, list[_BatchNorm]]:
        """The layers of nodes whose code may run them or not."""
        return {
            path: self._nodes[kind_of(path)][1].layers
            for path in paths
            if kind_of(path) in self._own_code
        }

    def on_device(self, statistics: FixedStatistics, paths: Sequence[NodePath]) -> DeviceStatistics:
        """Statistics of the nodes at `paths` on the device.

        Those of the last time are given again, since one generation is scored on many shards.
        """
        if isinstance(statistics, str):
            return ()
        if self._cached is None or not self._cached.is_of(statistics, paths):
            vectors = NodeVectors.join({path: statistics[path] for path in paths})
            copied = (torch.tensor(vectors.flat).to(self._device),)
            self._cached = CachedStatistics(statistics, paths, copied)
        return self._cached.on_device

    def recorded(
        self, paths: Sequence[NodePath], flat: Tensor
    ) -> tuple[NodeVectors, dict[Layer, int]]:
        """Read what nodes recorded, on the host.

        Args:
            paths: the nodes.
            flat: what the tensors of `under_batch` hold, one after another.

        Returns:
            Their statistics, and how often the layers of a user's code were called, but for those
            that were once.
        """
        lengths = tuple(self._nodes[kind_of(path)][1].length for path in paths)
        statistics, calls = np.split(flat.cpu().numpy(), [sum(lengths)])
        unusual: dict[Layer, int] = {}
        if (calls != 1).any():
            layers = [
                Layer(path, 2 * start, 2 * stop)
                for path in self._watched(paths)
                for start, stop in pairwise(
                    accumulate(self._nodes[kind_of(path)][1].sizes, initial=0)
                )
            ]
            unusual = {layers[place]: int(calls[place]) for place in np.flatnonzero(calls != 1)}
        return NodeVectors(tuple(paths), lengths, statistics), unusual

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """A context in which batch norms normalise each batch by itself."""
        batch_stats.set_calibrating(self._layers, True)
        try:
            yield
        finally:
            batch_stats.set_calibrating(self._layers, False)

    def _fixed(
        self, paths: Sequence[NodePath], statistics: DeviceStatistics
    ) -> dict[NodePath, Fixed]:
        """The layers that stand for the batch norms of nodes; see `under_fixed`."""
        if not statistics:
            return {path: self._inherited[kind_of(path)] for path in paths}
        # A recorded call reads its own copy, which is none of those that are cached.
        cached = (
            self._cached if self._cached and self._cached.on_device[0] is statistics[0] else None
        )
        if cached and cached.fixed is not None:
            return cached.fixed
        nodes = [self._nodes[kind_of(path)][1] for path in paths]
        fixed = dict(zip(paths, prepare(nodes, *statistics), strict=True))
        if cached:
            cached.fixed = fixed
        return fixed
