"""Batch norm with fixed statistics, folded into the convolution before it.

With fixed statistics batch norm is an affine map per channel, so a convolution followed by one is
another convolution: one pass over the activations less for each.
"""

from __future__ import annotations

import copy
from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.supernets.chain import batch_norms


class FoldedConv2d(nn.Module):
    """A convolution and the batch norm after it, as one convolution.

    Args:
        conv: zero-padded.
        norm: of its output channels, with running statistics.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` to the normalised output of the convolution."""
        conv = self.conv
        return F.conv2d(
            x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )


class FoldedModule:
    """A module of the chain that runs under given batch-norm statistics.

    Pairs of convolution and batch norm that are neighbours in an `nn.Sequential` are folded, since
    only there what runs after what is known. All other batch norms stay. Weights are shared with
    the module.

    Args:
        module: a stem, a choice or a head, in evaluation mode.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = fold_copy(module)
        self._norms = batch_norms(self.module)
        folded = [m for m in self.module.modules() if isinstance(m, FoldedConv2d)]
        self._layers = [[layer for layer in folded if layer.norm is n] for n in self._norms]
        sizes = [norm.num_features for norm in self._norms]
        starts = [2 * sum(sizes[:index]) for index in range(len(sizes))]
        spans = [
            torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)
        ]
        device = self._norms[0].running_mean.device if self._norms else None  # type: ignore[union-attr]
        self._means = join(spans).to(device)
        self._variances = join([span + len(span) for span in spans]).to(device)
        self._eps = join([torch.full((n.num_features,), n.eps) for n in self._norms]).to(device)
        self._gain = join([parameter(n, "weight", 1.0) for n in self._norms]).to(device)
        self._offset = join([parameter(n, "bias", 0.0) for n in self._norms]).to(device)
        self._sizes = sizes

    def assign(self, vector: Tensor) -> None:
        """Take statistics, `float32[2 * channels]` as `batchnorm.gather` lays them out."""
        if not self._norms:
            return
        means, variances = vector[self._means], vector[self._variances]
        scale = torch.rsqrt(variances + self._eps) * self._gain
        shift = self._offset - means * scale
        parts = zip(
            self._norms,
            self._layers,
            *(torch.split(t, self._sizes) for t in (means, variances, scale, shift)),
            strict=True,
        )
        for norm, layers, mean, variance, factor, bias in parts:
            if not layers:
                norm._buffers["running_mean"], norm._buffers["running_var"] = mean, variance
            for layer in layers:
                own = layer.conv.bias
                # Not by `Module.__setattr__`, as in `batchnorm.assign`.
                vars(layer).update(
                    weight=layer.conv.weight * factor.view(-1, 1, 1, 1),
                    bias=bias if own is None else bias + own * factor,
                )

    def __call__(self, x: Tensor) -> Tensor:
        """Run the module."""
        output: Tensor = self.module(x)
        return output


def fold_copy(module: nn.Module) -> nn.Module:
    """A copy whose foldable pairs are a `FoldedConv2d` each; it shares all tensors."""
    shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    replica = copy.deepcopy(module, dict(shared))
    for parent in [m for m in replica.modules() if runs_in_order(m)]:
        for first, second in pairwise(list(parent._modules)):
            conv, norm = parent._modules[first], parent._modules[second]
            if foldable(conv, norm):
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                parent._modules[first] = FoldedConv2d(conv, norm)
                parent._modules[second] = nn.Identity()
    return replica


def runs_in_order(module: nn.Module) -> bool:
    """Whether it is an `nn.Sequential` with its own `forward`, which subclasses may replace."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def foldable(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether they are exactly the layers that torch defines, without hooks, one after the other.

    A subclass may compute something else, so it is left alone.
    """
    return (
        type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and conv.padding_mode == "zeros"
        and conv.out_channels == norm.num_features
        and norm.running_mean is not None
        and not any(m._forward_hooks or m._forward_pre_hooks for m in (conv, norm))
    )


def parameter(norm: _BatchNorm, name: str, default: float) -> Tensor:
    """A layer's affine parameter, or what it is without one, `float32[channels]`."""
    value: Tensor | None = getattr(norm, name)
    if value is None:
        return torch.full((norm.num_features,), default)
    return value.detach().to(torch.float32)


def join(parts: list[Tensor]) -> Tensor:
    """One vector, also of nothing."""
    return torch.cat(parts) if parts else torch.empty(0)
