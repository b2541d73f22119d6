"""Weights of a supernet that is still trained, as a value that travels to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.supernets.chain import ChainSupernet


@final
@dataclass(frozen=True)
class Weights:
    """The parameters and buffers of a supernet at one moment.

    Args:
        version: tells them from those of any other moment.
        tensors: on the CPU, by their names in the supernet.
    """

    version: str
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)

    @staticmethod
    def of(supernet: ChainSupernet, version: str) -> Weights:
        """The weights of a supernet; tensors on the CPU are not copied."""
        # A state dict leaves out buffers that are not persistent.
        held = (
            *supernet.named_parameters(remove_duplicate=False),
            *supernet.named_buffers(remove_duplicate=False),
        )
        # Of a tensor under several names one copy travels.
        own = {id(tensor): tensor.detach().cpu() for _, tensor in held}
        return Weights(version, {name: own[id(tensor)] for name, tensor in held})


@torch.no_grad()
def fill(supernet: ChainSupernet, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Give a replica the parameters and buffers of another moment.

    Args:
        supernet: the replica.
        tensors: of all its parameters and buffers, by their names.
        device: that it is on.
    """
    for name, module in supernet.named_modules():
        prefix = f"{name}." if name else ""
        for own, parameter in module._parameters.items():
            if parameter is not None:
                parameter.copy_(tensors[prefix + own])
        for own, buffer in module._buffers.items():
            module._buffers[own] = renewed(
                buffer, tensors.get(prefix + own), device, anew=isinstance(module, _BatchNorm)
            )


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
