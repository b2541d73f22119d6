"""Weights of a supernet that is still trained, as a value that travels to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import Values, put


@final
@dataclass(frozen=True)
class Weights:
    """The parameters and buffers of a supernet at one moment.

    Args:
        version: tells them from those of any other moment.
        tensors: on the CPU, by their names in the supernet.
        attributes: plain values beside them that the training has changed.
    """

    version: str
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)
    attributes: Values = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(supernet: ChainSupernet, version: str, attributes: Values | None = None) -> Weights:
        """The weights of a supernet; tensors on the CPU are not copied."""
        # A state dict leaves out buffers that are not persistent.
        held = (
            *supernet.named_parameters(remove_duplicate=False),
            *supernet.named_buffers(remove_duplicate=False),
        )
        # Of a tensor under several names one copy travels.
        own = {id(tensor): tensor.detach().cpu() for _, tensor in held}
        tensors = {name: own[id(tensor)] for name, tensor in held}
        return Weights(version, tensors, attributes or {})


@torch.no_grad()
def fill(supernet: ChainSupernet, weights: Weights, device: torch.device) -> None:
    """Give a replica the parameters, buffers and changed attributes of another moment.

    Args:
        supernet: the replica.
        weights: of the supernet that it is a replica of.
        device: that it is on.
    """
    tensors = weights.tensors
    for name, module in supernet.named_modules():
        prefix = f"{name}." if name else ""
        for own, parameter in module._parameters.items():
            if parameter is not None:
                parameter.copy_(tensors[prefix + own])
        for own, buffer in module._buffers.items():
            module._buffers[own] = renewed(
                buffer, tensors.get(prefix + own), device, anew=isinstance(module, _BatchNorm)
            )
    put(supernet, weights.attributes)


def renewed(
    buffer: Tensor | None, given: Tensor | None, device: torch.device, *, anew: bool
) -> Tensor | None:
    """A buffer with a given value: the same one if it can hold it, or else one of its own.

    Args:
        buffer: of the replica.
        given: its value; none where a module has dropped it.
        device: of the replica.
        anew: not in the same one, in any case. What a batch norm holds may be the statistics of a
            node, which stay as they are.
    """
    if given is None:
        return None
    if anew or buffer is None or (buffer.shape, buffer.dtype) != (given.shape, given.dtype):
        return given.to(device, copy=True)
    return buffer.copy_(given)
