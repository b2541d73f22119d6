"""Running single nodes of a supernet under fixed batch-norm statistics or the batch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from raynas.evaluation import batchnorm
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.convnorm import join_pairs
from raynas.evaluation.fixing import Fixed, NodeNorms, prepare
from raynas.evaluation.statistics import NodeVectors
from raynas.evaluation.timing import NodeKind, kind_of
from raynas.supernets.chain import ChainSupernet, Path

Mode = Statistics | Literal["batch", "inherited"]
"""Which batch-norm statistics a run uses: given ones, the batch's own, or the supernet's."""


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
        running = torch.cat([batchnorm.gather(node.layers, device) for node in nodes])
        self._inherited = dict(zip(self._nodes, prepare(nodes, running), strict=True))

    def fixed(self, mode: Mode, paths: Iterable[Path]) -> Callable[[Path], Fixed] | None:
        """The fixed statistics of nodes; `None` for those of the batch.

        Args:
            mode: given statistics, of these and maybe more nodes, or where others come from.
            paths: the nodes.
        """
        if mode == "batch":
            return None
        if mode == "inherited":
            return lambda path: self._inherited[kind_of(path)]
        assert not isinstance(mode, str)
        vectors = NodeVectors.join({path: mode[path] for path in paths})
        nodes = [self._nodes[kind_of(path)][1] for path in vectors.paths]
        ready = prepare(nodes, torch.tensor(vectors.flat).to(self._device))
        return dict(zip(vectors.paths, ready, strict=True)).__getitem__

    def run_fixed(self, path: Path, x: Tensor, fixed: Fixed, *, fold: bool) -> Tensor:
        """Run a node under fixed statistics, which may be folded into its convolutions."""
        module, norms = self._nodes[kind_of(path)]
        norms.assign(fixed, fold=fold)
        y: Tensor = module(x)
        return y

    def run_batch(self, path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run a node under the batch's own statistics, while `calibrating`; output and these."""
        module, norms = self._nodes[kind_of(path)]
        vector = torch.zeros(norms.length, device=self._device)
        batchnorm.assign(norms.layers, vector)
        return module(x), vector

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Batch norms normalise each batch by itself, for the time of the context."""
        batchnorm.set_calibrating(self._layers, True)
        try:
            yield
        finally:
            batchnorm.set_calibrating(self._layers, False)


def modules_of(supernet: ChainSupernet) -> dict[NodeKind, nn.Module]:
    """The module of every kind of node."""
    modules: dict[NodeKind, nn.Module] = {(0, 0): supernet.stem}
    for depth, count in enumerate(supernet.space.choices, 1):
        path = (0,) * (depth - 1)
        modules |= {(depth, c): supernet.node((*path, c)) for c in range(count)}
    return modules | {(supernet.space.blocks + 1, 0): supernet.head}
