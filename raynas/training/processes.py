"""Several processes that train one supernet, by PyTorch's own DistributedDataParallel.

Every process walks through the same batches and takes an equal share of each; DDP averages the
gradients. What only one can do (drawing paths, checkpoints, observers) is process 0's, and the
others get what comes of it, also if that is an error.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raynas.errors import InputError, describe_error, require
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import PlainState, put
from raynas.training.settings import TrainingSettings

T = TypeVar("T")


@final
class FirstProcessError(RuntimeError):
    """Process 0 met an error that is raised there, and that the others cannot go on after."""


@final
@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them.

    Alone, a process does everything itself, as if this class were not there.

    Args:
        rank: this process, counted from 0.
        count: all of them.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> Processes:
        """The process group of `torch.distributed` if it is initialised, else this process."""
        if dist.is_available() and dist.is_initialized():
            return Processes(dist.get_rank(), dist.get_world_size())
        return ALONE

    @property
    def first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def agree(self, act: Callable[[], T]) -> T:
        """Process 0's result of a function, which no other calls; its error is raised in all."""
        if self.count == 1:
            return act()
        sent: list[Any] = [None, None]
        if not self.first:
            dist.broadcast_object_list(sent)
            if sent[1] is not None:
                raise sent[1]
            return sent[0]
        try:
            sent[0] = act()
        except BaseException as error:
            sent[1] = portable(error)
            raise
        finally:
            dist.broadcast_object_list(sent)
        return sent[0]

    def in_first(self, act: Callable[[], T]) -> T | None:
        """Let process 0 do something; its result stays there, its error is raised in all."""
        results: list[T] = []
        self.agree(lambda: results.append(act()))
        return results[0] if results else None

    def device(self, settings: TrainingSettings) -> torch.device:
        """The device that this process trains on, which becomes torch's current one.

        Raises:
            InputError: no such device here, one GPU for several processes, or too few of them.
        """
        if self.count == 1:
            return settings.torch_device()
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if settings.device == "cpu" or (settings.device is None and not gpus):
            return torch.device("cpu")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        require(
            settings.device in (None, "cuda") and here <= max(gpus, 1),
            "device",
            f"'cpu', or 'cuda' with a GPU for each of {here} processes",
            f"{settings.device!r} with {gpus} GPUs",
            "Start at most as many processes as there are GPUs, and name no single one.",
        )
        index = int(os.environ.get("LOCAL_RANK", self.rank))
        chosen = replace(settings, device=f"cuda:{index}").torch_device()
        torch.cuda.set_device(chosen)
        return chosen

    def require_share(self, samples: int, argument: str) -> None:
        """Raise `InputError` unless a batch of so many samples can be shared equally."""
        require(
            samples % self.count == 0,
            argument,
            f"batches of a multiple of {self.count} samples, the number of processes",
            samples,
            "Change the size of the batch, or the number of processes.",
        )

    def share(self, batch: Tensor) -> Tensor:
        """This process's samples of a batch `[n, …]`."""
        if self.count == 1:
            return batch
        self.require_share(len(batch), "images")
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def model(self, supernet: ChainSupernet, device: torch.device) -> nn.Module:
        """The supernet as it is called in a step; the weights and buffers become process 0's."""
        if self.count == 1:
            return supernet
        # A step takes one path. Choices that no process ran keep a gradient of None, so that
        # neither weight decay nor momentum moves them.
        indices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(supernet, device_ids=indices, find_unused_parameters=True)

    def total(self, loss: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the processes' losses, and the sum of their scores, both scalars."""
        if self.count == 1:
            return loss, score
        both = torch.stack((loss / self.count, score))
        dist.all_reduce(both)
        return both[0], both[1]

    def copy_buffers(self, supernet: ChainSupernet) -> None:
        """Take process 0's buffers; DDP does so only before a step, not after the last one."""
        if self.count > 1:
            sent = self._tensors_of_first(list(supernet.buffers()))
            for own, given in zip(supernet.buffers(), sent, strict=True):
                own.copy_(given)

    def copy_state(self, supernet: ChainSupernet) -> None:
        """Take process 0's weights and buffers, where not all processes have trained them."""
        if self.count > 1:
            supernet.load_state_dict(self._tensors_of_first(supernet.state_dict()))

    def copy_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Take process 0's momentum."""
        if self.count > 1:
            optimizer.load_state_dict(self._tensors_of_first(optimizer.state_dict()))

    def copy_attributes(self, supernet: ChainSupernet, plain: PlainState | None) -> None:
        """Take the plain values that process 0's modules got from a checkpoint.

        Args:
            supernet: of this process.
            plain: process 0's; `None` in others, and without a checkpoint.
        """
        if self.count > 1:
            put(supernet, self.agree(lambda: {} if plain is None else plain.changed()))

    def _tensors_of_first(self, value: Any) -> Any:
        """Process 0's tensors, and what holds them, on the CPU: its GPU is no other's."""
        file = io.BytesIO()
        torch.save(value, file)
        content = io.BytesIO(self.agree(file.getvalue))
        return torch.load(content, map_location="cpu", weights_only=True)


ALONE = Processes()
"""One process that trains by itself."""


def portable(error: BaseException) -> Exception:
    """An error that says in another process what this one met."""
    if isinstance(error, InputError):
        return InputError(error.argument, error.expected, str(error.got), error.remedy)
    return FirstProcessError(f"process 0 ended with {describe_error(error)}")
