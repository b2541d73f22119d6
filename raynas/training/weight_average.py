"""The moving average of weights that a training may end with (GreedyNAS, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from raynas.errors import InputError
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import copy_all, unique_tensors


@final
class WeightAverage:
    """The exponential moving average of a supernet's weights and statistics.

    It begins with those of the first step. What a step leaves as it is, the average goes on
    towards. Counters of batches are no weights, and stay the supernet's own.

    Args:
        supernet: that is trained, on its device.
        decay: the share of the average that a step keeps.
    """

    def __init__(self, supernet: ChainSupernet, decay: float) -> None:
        self._supernet = supernet
        self._move = get_ema_multi_avg_fn(decay)
        self.tensors: dict[str, Tensor] = {}
        """The average by the name of each tensor; empty before the first step."""

    def update(self) -> None:
        """Move towards what the supernet has after a step."""
        now = self._averaged()
        if not self.tensors:
            self.tensors = {name: tensor.detach().clone() for name, tensor in now.items()}
            return
        with torch.no_grad():
            own = [self.tensors[name] for name in now]
            self._move(own, [tensor.detach() for tensor in now.values()], None)  # type: ignore[arg-type]

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint holds.

        Raises:
            InputError: tensors of another supernet.
        """
        now = self._averaged()
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if tensors and shapes != {name: tensor.shape for name, tensor in now.items()}:
            raise InputError(
                "checkpoint",
                "an average of this supernet's weights",
                "that of other weights",
                "Remove the file to train from the start, or name another one.",
            )
        self.tensors = {
            name: tensor.to(now[name].device, now[name].dtype, copy=True)
            for name, tensor in tensors.items()
        }

    def put(self) -> None:
        """Give the supernet its average."""
        now = self._averaged()
        copy_all((now[name], tensor) for name, tensor in self.tensors.items())

    def _averaged(self) -> dict[str, Tensor]:
        own, _ = unique_tensors(self._supernet)
        return {name: tensor for name, tensor in own.items() if tensor.is_floating_point()}
