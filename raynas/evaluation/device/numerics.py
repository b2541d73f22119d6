"""The state of torch that floating-point results depend on, switched for a time and restored.

A caller may search inside autocast or inference mode, with another default type, number of threads
or matrix-product precision. Workers of Ray start without any of it. So every evaluation sets all of
it itself, and results are the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal

import torch

from raynas.errors import InputError
from raynas.evaluation.settings import Arithmetic

TINY = 1e-40
"""A number that is lost where denormal numbers are flushed to zero."""


@contextmanager
def numerics(device: torch.device, arithmetic: Arithmetic) -> Iterator[None]:
    """Compute without gradients, under one arithmetic, whatever the caller's state of torch.

    Args:
        device: of the computation.
        arithmetic: its precision, and its number of intra-op threads on the CPU.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in dict.fromkeys(("cpu", device.type)):
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(default_state())
        stack.enter_context(threads_of(device, arithmetic.threads))
        stack.enter_context(steady_kernels(device))
        stack.enter_context(autocast(device, dtype_of(arithmetic)))
        yield


@contextmanager
def default_state() -> Iterator[None]:
    """Torch's global settings as a new process has them; then again as they were."""
    with ExitStack() as stack:
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        if torch.get_default_device().type != "cpu":
            # Over whatever set it: a `with torch.device(…)` of the caller cannot be switched off.
            stack.enter_context(torch.device("cpu"))
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        if torch.are_deterministic_algorithms_enabled():
            warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
            torch.use_deterministic_algorithms(False)
            stack.callback(torch.use_deterministic_algorithms, True, warn_only=warn_only)
        if not torch.backends.mkldnn.enabled:
            torch.backends.mkldnn.set_flags(True)
            stack.callback(torch.backends.mkldnn.set_flags, False)
        if flushes_denormals():
            torch.set_flush_denormal(False)
            stack.callback(torch.set_flush_denormal, True)
        yield


def flushes_denormals() -> bool:
    """Whether this thread takes tiny numbers for zero; torch can set that, but does not tell."""
    return (torch.tensor(TINY) * 1.0).item() == 0.0


@contextmanager
def threads_of(device: torch.device, threads: int) -> Iterator[None]:
    """A number of intra-op threads on the CPU; then again as many as before."""
    before = torch.get_num_threads()
    if device.type == "cpu" and before != threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


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
