"""What floating-point results depend on besides their operands: device, threads, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, final

import torch

from raynas.errors import InputError


@final
@dataclass(frozen=True)
class Arithmetic:
    """How candidates are computed; winners always as by the defaults.

    Args:
        precision: `"float32"`, or `"bfloat16"` or `"float16"` by autocast.
        fold_batch_norm: whether fixed batch norm is folded into the convolution before it.
    """

    precision: str = "float32"
    fold_batch_norm: bool = False


@contextmanager
def numerics(device: torch.device, threads: int, dtype: torch.dtype) -> Iterator[None]:
    """No gradients, the number of threads on the CPU, and the precision of convolutions.

    Args:
        device: what runs.
        threads: intra-op threads, put back at the end.
        dtype: float32, or what autocast computes in.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and before != threads:
        torch.set_num_threads(threads)
    try:
        with torch.no_grad(), steady_kernels(device), autocast(device, dtype):
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to a type of low precision; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def steady_kernels(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA: float32 without TF32, and the same kernels in every process."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def resolve_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process; CUDA must be visible to it if it is asked for."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            "device", "a CUDA device", "none visible", "Use device='cpu', or give workers a GPU."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")
