"""Running single nodes of a supernet under fixed batch-norm statistics or the batch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, final

import torch
from torch import Tensor

from raynas.errors import InputError
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.conv_norm import join_pairs
from raynas.evaluation.batch_norm.counting import CallCheck, counting_kinds
from raynas.evaluation.batch_norm.fixed import Fixed, NodeNorms, concatenate, prepare
from raynas.evaluation.batch_norm.statistics import (
    AveragedCalls,
    FixedStatistics,
    Statistics,
    follows_training,
)
from raynas.evaluation.batch_norm.vectors import NodeVectors
from raynas.evaluation.trie import kind_of, node_name
from raynas.shards.storage import channels_last
from raynas.supernets.chain import ChainSupernet, NodeKind, Path
from raynas.supernets.layout import choose_layouts, modules_of

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
        self._blocks = supernet.space.blocks
        self._own_layout = choose_layouts(supernet, device)
        self._counting = counting_kinds(supernet, device)
        self._calls = CallCheck()
        join_pairs(supernet)
        modules = modules_of(supernet)
        # A module in several places has the same norms in all of them.
        norms = {id(module): NodeNorms(module, device) for module in modules.values()}
        self._nodes = {kind: (module, norms[id(module)]) for kind, module in modules.items()}
        layers = {id(layer): layer for node in norms.values() for layer in node.layers}
        for layer in layers.values():
            vars(layer)["forward"] = AveragedCalls(layer)
        self._layers = [layer for layer in layers.values() if follows_training(layer)]
        nodes = [node for _, node in self._nodes.values()]
        running = torch.cat([batch_stats.read(node.layers, device) for node in nodes])
        self._last: Placement | None = None
        self._inherited = dict(zip(self._nodes, prepare(nodes, running), strict=True))

    @property
    def calibrated(self) -> bool:
        """Whether any layer keeps statistics, so that there is something to calibrate."""
        return any(node.layers for _, node in self._nodes.values())

    def under_fixed(self, paths: Sequence[Path], placed: Placed, *, fold: bool) -> Run:
        """A function that runs nodes under fixed statistics.

        Args:
            paths: the nodes, each once.
            placed: what `place` made of their statistics.
            fold: into the weights of convolutions where possible, which rounds otherwise.
        """
        fixed = self._fixed(paths, placed)

        def run(path: Path, x: Tensor) -> Tensor:
            kind = kind_of(path)
            self._nodes[kind][1].assign(fixed[path], fold=fold)
            return self._call(kind, x)

        return run

    def under_batch(self, paths: Sequence[Path]) -> tuple[Run, Sequence[Tensor]]:
        """A function that runs nodes under the batch's own statistics, while `calibrating`.

        Args:
            paths: the nodes, each once.

        Returns:
            It, and the tensors that receive the statistics of all nodes, one after another. They
            hold the supernet's own before, which stay where a layer does not record any.
        """
        nodes = [self._nodes[kind_of(path)][1] for path in paths]
        room = concatenate([node.own for node in nodes], self._device)
        sizes = [size for node in nodes for size in node.sizes for _ in range(2)]
        moments = batch_stats.parts_of(room, sizes)
        stops = accumulate(2 * len(node.sizes) for node in nodes)
        spans = zip(paths, pairwise([0, *stops]), strict=True)
        rooms = {path: moments[start:stop] for path, (start, stop) in spans}

        def run(path: Path, x: Tensor) -> Tensor:
            kind = kind_of(path)
            norms = self._nodes[kind][1]
            norms.set_buffers(rooms[path])
            if kind in self._counting:
                return self._count(path, x, rooms[path])
            batch_stats.start_averages(norms.layers)
            y = self._call(kind, x)
            if not norms.uniform:
                batch_stats.take_back(norms.layers, rooms[path])
            return y

        return run, moments

    def _call(self, kind: NodeKind, x: Tensor) -> Tensor:
        """Run a module on an input in the layout that it takes."""
        y: Tensor = self._nodes[kind][0](x.contiguous() if kind in self._own_layout else x)
        # Tensors made in inference mode cannot be watched for changes.
        return y.clone() if y.is_inference() else y

    def _count(self, path: Path, x: Tensor, room: Sequence[Tensor]) -> Tensor:
        """Run a module under torch's cumulative average; statistics go to the tensors of `room`."""
        kind = kind_of(path)
        layers = self._nodes[kind][1].layers
        counters = batch_stats.start_counters(layers)
        y = self._call(kind, x)
        counted = batch_stats.stop_counters(layers, counters)
        self._calls.see(kind, node_name(path, self._blocks), counted)
        batch_stats.take_back(layers, room)
        return y

    def place(self, statistics: FixedStatistics, paths: Sequence[Path]) -> Placed:
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


@final
class InputCheck:
    """Sees to it that no node changes its input, which other candidates share.

    Autograd's version counter shows most changes; those through `.data` only a copy shows, which
    the first execution of every node at hand is compared with. (Modules whose code has a way to
    write unseen run on copies, in case they do so later only.)

    Args:
        blocks: how many blocks the chain has.
        writers: modules that always run on copies; see `unseen_writers`.
    """

    def __init__(self, blocks: int, writers: frozenset[NodeKind] = frozenset()) -> None:
        self._blocks = blocks
        self._writers = writers
        self._seen: set[Path] = set()

    def covers(self, paths: Iterable[Path]) -> bool:
        """Whether all nodes were compared already."""
        return self._seen.issuperset(paths)

    def around(self, run: Run) -> Run:
        """A function that runs nodes, and brings their outputs into the layout of activations.

        Raises:
            InputError: when it is run, a module that modifies its input.
        """

        def run_checked(path: Path, x: Tensor) -> Tensor:
            first = path not in self._seen
            given = x.clone() if first or kind_of(path) in self._writers else x
            version = given._version
            y = run(path, given)
            if given._version != version or (first and not same_bits(given, x)):
                raise InputError(
                    node_name(path, self._blocks),
                    "modules that leave their input unchanged",
                    "one that modifies it in place",
                    "Do not apply in-place operations to a block's input, nor write through its "
                    ".data or detach(): work on a copy (x.clone()).",
                )
            if first:
                self._remember(path)
            return channels_last(y)

        return run_checked

    def _remember(self, path: Path) -> None:
        if len(self._seen) >= COMPARED:
            self._seen.clear()
        self._seen.add(path)


COMPARED = 100_000
"""Nodes that are remembered as compared."""

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes as a value, in which NaN equals itself."""


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bits."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits = BITS[one.element_size()]
    return torch.equal(one.view(bits), other.view(bits))
