"""The state of torch that floating-point results depend on, the same in every process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

from raynas.evaluation.settings import Arithmetic
from raynas.torch_state import cpu_threads, plain_state


@contextmanager
def numerics(device: torch.device, arithmetic: Arithmetic) -> Iterator[None]:
    """Compute without gradients, under one arithmetic, whatever the caller's state of torch.

    Args:
        device: of the computation.
        arithmetic: its precision, and its number of intra-op threads on the CPU.
    """
    with ExitStack() as stack:
        stack.enter_context(plain_state(*dict.fromkeys(("cpu", device.type))))
        if device.type == "cpu":
            stack.enter_context(cpu_threads(arithmetic.threads))
        stack.enter_context(steady_kernels(device))
        stack.enter_context(autocast(device, dtype_of(arithmetic)))
        yield


def dtype_of(arithmetic: Arithmetic) -> torch.dtype:
    """The type that convolutions and matrix products compute in."""
    dtype: torch.dtype = getattr(torch, arithmetic.precision)
    return dtype


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to a type of low precision; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def steady_kernels(device: torch.device) -> AbstractContextManager[None]:
    """A context in which CUDA computes without TF32, by the same kernels in every process."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
