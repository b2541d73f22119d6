"""Running single nodes of a supernet under fixed batch-norm statistics or the batch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from raynas.evaluation import batchnorm
from raynas.evaluation.batchnorm import Statistics
from raynas.evaluation.convnorm import join_pairs
from raynas.evaluation.fixing import Fixed, NodeNorms, prepare
from raynas.evaluation.statistics import NodeVectors
from raynas.supernets.chain import ChainSupernet, Path

Mode = Statistics | Literal["batch", "inherited"]
"""Which batch-norm statistics a run uses: given ones, the batch's own, or the supernet's."""


class NodeRunner:
    """Runs the nodes of one replica.

    Args:
        supernet: the replica, on its device and in evaluation mode. Its batch norms change, and
            become one module with the convolutions before them.
        device: that it is on.
    """

    def __init__(self, supernet: ChainSupernet, device: torch.device) -> None:
        self.supernet = supernet
        self.device = device
        modules = [supernet.stem, *(c for block in supernet.blocks for c in block), supernet.head]  # type: ignore[attr-defined]
        join_pairs(supernet)
        self._norms = {id(module): NodeNorms(module, device) for module in modules}
        nodes = list(self._norms.values())
        running = [batchnorm.gather(node.norms, device) for node in nodes]
        self._inherited = dict(zip(self._norms, prepare(nodes, torch.cat(running)), strict=True))

    def fixed(self, mode: Mode) -> Callable[[Path], Fixed] | None:
        """The fixed statistics of any node; `None` for those of the batch."""
        if mode == "batch":
            return None
        if mode == "inherited":
            return lambda path: self._inherited[id(self.supernet.node(path))]
        assert not isinstance(mode, str)
        vectors = NodeVectors.join(mode)
        nodes = [self._norms[id(self.supernet.node(path))] for path in vectors.paths]
        ready = prepare(nodes, torch.tensor(vectors.flat).to(self.device))
        return dict(zip(vectors.paths, ready, strict=True)).__getitem__

    def run_fixed(self, path: Path, x: Tensor, fixed: Fixed, *, fold: bool) -> Tensor:
        """Run a node under fixed statistics, which may be folded into its convolutions."""
        module = self.supernet.node(path)
        self._norms[id(module)].assign(fixed, fold=fold)
        y: Tensor = module(x)
        return y

    def run_batch(self, path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run a node under the batch's own statistics; its output and these."""
        module = self.supernet.node(path)
        norms = self._norms[id(module)].norms
        vector = torch.zeros(batchnorm.vector_size(norms), device=self.device)
        batchnorm.assign(norms, vector)
        batchnorm.set_calibrating(norms, True)
        try:
            return module(x), vector
        finally:
            batchnorm.set_calibrating(norms, False)
