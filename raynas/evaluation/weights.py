"""Weights of a supernet that is still trained, as a value that travels to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from raynas.supernets.chain import ChainSupernet


@final
@dataclass(frozen=True)
class Weights:
    """The parameters and buffers of a supernet at one moment.

    Args:
        version: tells them from those of any other moment.
        tensors: on the CPU, by their names in the state dict.
    """

    version: str
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)

    @staticmethod
    def of(supernet: ChainSupernet, version: str) -> Weights:
        """The weights of a supernet; tensors on the CPU are not copied."""
        state = supernet.state_dict()
        return Weights(version, {name: tensor.cpu() for name, tensor in state.items()})
