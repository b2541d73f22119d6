"""Fixed batch-norm statistics of many nodes, made ready at once and set node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from raynas.evaluation import batchnorm
from raynas.evaluation.convnorm import ConvNorm, affine, affine_parameter
from raynas.supernets.chain import batch_norms


@dataclass(frozen=True)
class Fixed:
    """What each batch norm of one node does under fixed statistics.

    Args:
        moments: mean and variance by turns, `float32[channels]` each.
        scales: `float32[1, channels, 1, 1]`.
        shifts: likewise.
    """

    moments: Sequence[Tensor]
    scales: Sequence[Tensor]
    shifts: Sequence[Tensor]


class NodeNorms:
    """The batch norms of a module of the chain.

    Args:
        module: a stem, a choice or a head, in evaluation mode, with its pairs joined.
        device: that it is on.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.norms = batch_norms(module)
        self.sizes = [norm.num_features for norm in self.norms]
        joined = [layer for layer in module.modules() if isinstance(layer, ConvNorm)]
        self._layers = [[layer for layer in joined if layer.norm is norm] for norm in self.norms]
        self.eps = join([torch.full((norm.num_features,), norm.eps) for norm in self.norms], device)
        self.gain = join([affine_parameter(norm, "weight", 1.0) for norm in self.norms], device)
        self.offset = join([affine_parameter(norm, "bias", 0.0) for norm in self.norms], device)

    def assign(self, fixed: Fixed, *, fold: bool) -> None:
        """Take statistics.

        Args:
            fixed: of this module.
            fold: into the weights of convolutions where possible, which rounds otherwise.
        """
        batchnorm.lend(self.norms, fixed.moments)
        for layers, scale, shift in zip(self._layers, fixed.scales, fixed.shifts, strict=True):
            for layer in layers:
                # Not by `Module.__setattr__`, as in `batchnorm.lend`.
                vars(layer).update(
                    fixed=(scale, shift),
                    folded=folded(layer.conv, scale, shift) if fold else None,
                )


def prepare(nodes: Sequence[NodeNorms], flat: Tensor) -> list[Fixed]:
    """Make the statistics of many nodes ready in a few operations.

    Args:
        nodes: each node's batch norms.
        flat: the vectors of all nodes, one after another, as `batchnorm.gather` lays them out.

    Returns:
        Of each node.
    """
    sizes = [size for node in nodes for size in node.sizes]
    moments = flat.split([size for size in sizes for _ in range(2)])
    eps, gain, offset = (
        join([getattr(node, name) for node in nodes], flat.device)
        for name in ("eps", "gain", "offset")
    )
    means, variances = join(moments[0::2], flat.device), join(moments[1::2], flat.device)
    maps = affine(means, variances, eps, gain, offset)
    scales, shifts = (part.view(1, -1, 1, 1).split(sizes, 1) for part in maps)
    stops = list(accumulate(len(node.sizes) for node in nodes))
    return [
        Fixed(moments[2 * start : 2 * stop], scales[start:stop], shifts[start:stop])
        for start, stop in pairwise([0, *stops])
    ]


def folded(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that scales and shifts its outputs."""
    bias = shift.view(-1)
    if conv.bias is not None:
        bias = torch.addcmul(bias, conv.bias, scale.view(-1))
    return conv.weight * scale.view(-1, 1, 1, 1), bias


def join(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """One vector, also of nothing."""
    return (
        torch.cat([part.to(device) for part in parts]) if parts else torch.empty(0, device=device)
    )
