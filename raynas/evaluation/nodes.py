"""Running single nodes of a supernet under fixed batch-norm statistics or the batch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.conv_norm import join_pairs
from raynas.evaluation.batch_norm.fixed import Fixed, NodeNorms, prepare
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.batch_norm.vectors import NodeVectors
from raynas.evaluation.timing import NodeKind, Stopwatch, kind_of
from raynas.shards.storage import channels_last
from raynas.supernets.chain import ChainSupernet, Path

Mode = Statistics | Literal["batch", "inherited"]
"""Which batch-norm statistics a run uses: given ones, the batch's own, or the supernet's."""

Placed = tuple[Tensor, ...]
"""Fixed statistics of nodes on the device: one vector of all, one after another, `float32`; nothing
for the supernet's own."""

Run = Callable[[Path, Tensor], Tensor]
"""Executes the node at a path."""


@dataclass
class Placement:
    """Statistics that were placed on the device, and what was made of them.

    Args:
        statistics: on the host.
        paths: the nodes that they are of.
        placed: all of them on the device.
        fixed: what the batch norms of each node do, once that was needed.
    """

    statistics: Statistics
    paths: Sequence[Path]
    placed: Placed
    fixed: dict[Path, Fixed] | None = None

    def is_of(self, statistics: Statistics, paths: Sequence[Path]) -> bool:
        """Whether these nodes have the same statistics there: the same object, or store memory."""
        mine = self.statistics
        return self.paths == paths and isinstance(mine, NodeVectors) and mine.is_same(statistics)


class NodeRunner:
    """Runs the nodes of one replica.

    Args:
        supernet: the replica, on its device and in evaluation mode. Its batch norms change, and
            run as one with the convolutions before them.
        device: that it is on.
    """

    def __init__(self, supernet: ChainSupernet, device: torch.device) -> None:
        self._device = device
        join_pairs(supernet)
        modules = modules_of(supernet)
        # A module in several places has the same norms in all of them.
        norms = {id(module): NodeNorms(module, device) for module in modules.values()}
        self._nodes = {kind: (module, norms[id(module)]) for kind, module in modules.items()}
        self._layers = [layer for node in norms.values() for layer in node.layers]
        nodes = [node for _, node in self._nodes.values()]
        running = torch.cat([batch_stats.gather(node.layers, device) for node in nodes])
        self._last: Placement | None = None
        self._inherited = dict(zip(self._nodes, prepare(nodes, running), strict=True))

    def under_fixed(self, paths: Sequence[Path], placed: Placed, *, fold: bool) -> Run:
        """What runs nodes under fixed statistics.

        Args:
            paths: the nodes, each once.
            placed: what `place` made of their statistics.
            fold: into the weights of convolutions where possible, which rounds otherwise.
        """
        fixed = self._fixed(paths, placed)

        def run(path: Path, x: Tensor) -> Tensor:
            module, norms = self._nodes[kind_of(path)]
            norms.assign(fixed[path], fold=fold)
            y: Tensor = module(x)
            return y

        return run

    def under_batch(self, paths: Sequence[Path]) -> tuple[Run, Sequence[Tensor]]:
        """What runs nodes under the batch's own statistics, while `calibrating`.

        Args:
            paths: the nodes, each once.

        Returns:
            It, and what receives the statistics of all nodes, one after another.
        """
        nodes = [self._nodes[kind_of(path)][1] for path in paths]
        room = torch.zeros(sum(node.length for node in nodes), device=self._device)
        sizes = [size for node in nodes for size in node.sizes for _ in range(2)]
        moments = batch_stats.parts_of(room, sizes)
        stops = accumulate(2 * len(node.sizes) for node in nodes)
        spans = zip(paths, pairwise([0, *stops]), strict=True)
        rooms = {path: moments[start:stop] for path, (start, stop) in spans}

        def run(path: Path, x: Tensor) -> Tensor:
            module, norms = self._nodes[kind_of(path)]
            batch_stats.lend(norms.layers, rooms[path])
            y: Tensor = module(x)
            return y

        return run, moments

    def place(self, statistics: Statistics | Literal["inherited"], paths: Sequence[Path]) -> Placed:
        """Statistics of the nodes at `paths` on the device.

        Those of the last time are given again, since one generation is scored on many shards.
        """
        if isinstance(statistics, str):
            return ()
        if self._last is None or not self._last.is_of(statistics, paths):
            vectors = NodeVectors.join({path: statistics[path] for path in paths})
            placed = (torch.tensor(vectors.flat).to(self._device),)
            self._last = Placement(statistics, paths, placed)
        return self._last.placed

    def pack(self, paths: Sequence[Path], flat: Tensor) -> NodeVectors:
        """Recorded statistics of the nodes at `paths`, one after another, on the host."""
        lengths = (self._nodes[kind_of(path)][1].length for path in paths)
        return NodeVectors(tuple(paths), tuple(lengths), flat.cpu().numpy())

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Batch norms normalise each batch by itself, for the time of the context."""
        batch_stats.set_calibrating(self._layers, True)
        try:
            yield
        finally:
            batch_stats.set_calibrating(self._layers, False)

    def _fixed(self, paths: Sequence[Path], placed: Placed) -> dict[Path, Fixed]:
        """What the batch norms of nodes do; see `under_fixed`."""
        if not placed:
            return {path: self._inherited[kind_of(path)] for path in paths}
        # The recording of a call has a place of its own for them.
        last = self._last if self._last and self._last.placed[0] is placed[0] else None
        if last and last.fixed is not None:
            return last.fixed
        nodes = [self._nodes[kind_of(path)][1] for path in paths]
        fixed = dict(zip(paths, prepare(nodes, *placed), strict=True))
        if last:
            last.fixed = fixed
        return fixed


def checked(run: Run, watch: Stopwatch) -> Run:
    """What runs nodes, times them, and sees to what must hold around them.

    Raises:
        InputError: when it is run, a module that modifies its input in place.
    """

    def run_checked(path: Path, x: Tensor) -> Tensor:
        begun = watch.mark()
        version = x._version
        y = run(path, x)
        if x._version != version:
            raise InputError(
                f"supernet node {path}",
                "modules that leave their input unchanged",
                "one that modifies it in place",
                "Do not apply in-place operations to a block's input.",
            )
        y = channels_last(y)
        watch.lap(path, len(x), begun)
        return y

    return run_checked


def modules_of(supernet: ChainSupernet) -> dict[NodeKind, nn.Module]:
    """The module of every kind of node."""
    modules: dict[NodeKind, nn.Module] = {(0, 0): supernet.stem}
    for depth, count in enumerate(supernet.space.choices, 1):
        path = (0,) * (depth - 1)
        modules |= {(depth, c): supernet.node((*path, c)) for c in range(count)}
    return modules | {(supernet.space.blocks + 1, 0): supernet.head}
