"""Recorders that need no device: one that does as a CUDA graph, and some that fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raynas.evaluation.device.cuda_graphs import Function, GraphRecorder, Replays, Tensors

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


class Rehearses:
    """Lets functions run before they are recorded."""

    def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
        return function(*inputs), None


class Mimic(Rehearses):
    """Records as a CUDA graph does: inputs and results have a place of their own, written anew."""

    def __init__(self) -> None:
        self.plays = 0

    def record(self, function: Function, inputs: Tensors) -> Function:
        own = tuple(x.clone() for x in inputs)
        outputs = tuple(torch.full_like(y, 77) for y in function(*own))

        def replay(*given: Tensor) -> Tensors:
            self.plays += 1
            for mine, theirs in zip(own, given, strict=True):
                mine.copy_(theirs)
            for mine, theirs in zip(outputs, function(*own), strict=True):
                mine.copy_(theirs)
            return outputs

        return replay


def replays_of(device: str) -> Replays:
    return Replays(GraphRecorder if device == "cuda" else Mimic)


class Refuses(Rehearses):
    """Cannot record; notes how often it was to, and runs what it was given before it fails."""

    def __init__(self, error: RuntimeError) -> None:
        self.error, self.attempts = error, 0

    def record(self, function: Function, inputs: Tensors) -> Function:
        self.attempts += 1
        with Casts() as casts:
            function(*inputs)
        for cast in casts.found:
            # What was only recorded has no values.
            cast.fill_(float("nan"))
        raise self.error


class Casts(TorchDispatchMode):
    """Finds what is cast to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype == torch.bfloat16:
            self.found.append(result)
        return result


CAPTURING = RuntimeError("operation not permitted when stream is capturing\nand more")
