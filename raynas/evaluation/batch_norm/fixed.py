"""Fixed batch-norm statistics of many nodes, made ready at once and set node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.conv_norm import affine
from raynas.evaluation.batch_norm.joined import joined_pairs
from raynas.supernets.chain import batch_norms


@final
@dataclass(frozen=True)
class Fixed:
    """The affine maps that the batch norms of one node become under fixed statistics.

    Args:
        moments: mean and variance by turns, `float32[channels]` each.
        scales: `float32[1, channels, 1, 1]`.
        shifts: likewise.
    """

    moments: Sequence[Tensor]
    scales: Sequence[Tensor]
    shifts: Sequence[Tensor]


@final
class NodeNorms:
    """The batch norms of a module of the chain: its `layers`, and the `length` of their vector.

    Args:
        module: a stem, a choice or a head, in evaluation mode, with its pairs joined.
        device: that it is on.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.layers = batch_norms(module)
        self.broken = [i for i, layer in enumerate(self.layers) if not has_finite_buffers(layer)]
        """Layers whose statistics in the supernet are no numbers."""
        self.own = finite(batch_stats.read(self.layers, device))
        """The supernet's statistics: of a layer that calibration does not write, they stay."""
        self.sizes = [layer.num_features for layer in self.layers]
        types = [buffer_type(layer) for layer in self.layers]
        self._types = types if {*types} - {torch.float32} else None
        self.length = 2 * sum(self.sizes)
        pairs = joined_pairs(module)
        for pair in pairs:
            pair.take_parameters()
        self._pairs = [[pair for pair in pairs if pair.norm is layer] for layer in self.layers]
        eps = [torch.full((layer.num_features,), layer.eps) for layer in self.layers]
        gain = [parameter(layer, "weight", 1.0) for layer in self.layers]
        offset = [parameter(layer, "bias", 0.0) for layer in self.layers]
        self.constants = tuple(concatenate(parts, device) for parts in (eps, gain, offset))
        """Eps, gain and offset of all channels of all layers."""

    def spoil(self, moments: Sequence[Tensor], written: Sequence[bool]) -> None:
        """Give broken layers that recorded nothing their statistics back, which are no numbers."""
        for index in self.broken:
            if not written[index]:
                for moment in moments[2 * index : 2 * index + 2]:
                    moment.fill_(torch.nan)

    def count_calls(self, moments: Sequence[Tensor], calls: Tensor) -> None:
        """Say how often each layer was called; never, if it still holds the supernet's statistics.

        Args:
            moments: mean and variance of each by turns.
            calls: `float32[layers]`, to be written to.
        """
        own = self.own.split([size for size in self.sizes for _ in range(2)])
        same = [(now == before).all() for now, before in zip(moments, own, strict=True)]
        calls.copy_(~torch.stack(same).view(-1, 2).all(1))
        for index, layer in enumerate(self.layers):
            # Code that calls functions on the buffers of a layer leaves it uncounted.
            if (counted := batch_stats.counted_calls(layer)) > 1:
                calls[index].mul_(counted)

    @property
    def uniform(self) -> bool:
        """Whether the buffers of all layers are float32, so that they can be set as they are."""
        return self._types is None

    def set_buffers(self, moments: Sequence[Tensor]) -> None:
        """Make the layers compute with mean and variance of each by turns, in their own types."""
        if self._types is not None:
            types = [kind for kind in self._types for _ in range(2)]
            moments = [moment.to(kind) for moment, kind in zip(moments, types, strict=True)]
        batch_stats.set_buffers(self.layers, moments)

    def assign(self, fixed: Fixed, *, fold: bool) -> None:
        """Take statistics, which stay until others are taken.

        Args:
            fixed: of this module.
            fold: into the weights of convolutions where possible, which rounds otherwise.
        """
        self.set_buffers(fixed.moments)
        for pairs, scale, shift in zip(self._pairs, fixed.scales, fixed.shifts, strict=True):
            for pair in pairs:
                pair.fixed, pair.moments = (scale, shift), moments_of(pair.norm)
                pair.folded = fold_into(pair.conv, scale, shift) if fold else None


def prepare(nodes: Sequence[NodeNorms], flat: Tensor) -> list[Fixed]:
    """Make the statistics of many nodes ready in a few operations.

    Args:
        nodes: each node's batch norms.
        flat: the vectors of all nodes, one after another, as `batch_stats.read` lays them out.

    Returns:
        Of each node.
    """
    # Scale and shift of all channels of all nodes are computed together and then split: a trie has
    # thousands of small layers, and a few operations for each would take longer than their blocks.
    sizes = [size for node in nodes for size in node.sizes]
    moments = batch_stats.parts_of(flat, [size for size in sizes for _ in range(2)])
    means, variances = (concatenate(moments[start::2], flat.device) for start in range(2))
    constants = zip(*(node.constants for node in nodes), strict=True)
    eps, gain, offset = (concatenate(parts, flat.device) for parts in constants)
    maps = affine(means, variances, eps, gain, offset)
    scales, shifts = (part.view(1, -1, 1, 1).split(sizes, 1) for part in maps)
    stops = accumulate(len(node.sizes) for node in nodes)
    return [
        Fixed(moments[2 * start : 2 * stop], scales[start:stop], shifts[start:stop])
        for start, stop in pairwise([0, *stops])
    ]


def buffer_type(layer: _BatchNorm) -> torch.dtype:
    """The type of a layer's statistics: that of the block that it runs in."""
    return torch.float32 if layer.running_mean is None else layer.running_mean.dtype


def moments_of(layer: _BatchNorm) -> tuple[Tensor | None, Tensor | None]:
    """The running mean and variance that a layer has now."""
    return layer._buffers["running_mean"], layer._buffers["running_var"]


def has_finite_buffers(layer: _BatchNorm) -> bool:
    """Whether a layer's running statistics are numbers."""
    buffers = (layer.running_mean, layer.running_var)
    return all(bool(each.isfinite().all()) for each in buffers if each is not None)


def finite(own: Tensor) -> Tensor:
    """Statistics that a batch's own can replace: torch multiplies the old ones by zero."""
    # A layer's new statistics are (1 - momentum) * old + momentum * batch, also at a momentum of 1:
    # an old infinity or NaN, which diverged training leaves, would make 0 * inf = NaN of them.
    return own.where(own.isfinite(), torch.zeros_like(own))


def fold_into(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that scales and shifts its outputs."""
    bias = shift.view(-1)
    if conv.bias is not None:
        bias = torch.addcmul(bias, conv.bias, scale.view(-1))
    return conv.weight * scale.view(-1, 1, 1, 1), bias


def parameter(layer: _BatchNorm, name: str, default: float) -> Tensor:
    """A layer's affine parameter, or what it is without one, `float32[channels]`."""
    value: Tensor | None = getattr(layer, name)
    if value is None:
        return torch.full((layer.num_features,), default)
    return value.detach().to(torch.float32)


def concatenate(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """One vector on a device, also of nothing."""
    return (
        torch.cat([part.to(device) for part in parts]) if parts else torch.empty(0, device=device)
    )
