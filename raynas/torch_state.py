"""Torch's global state as a new process has it, for a time, whatever the caller has switched on.

A caller may evaluate inside autocast or inference mode, with another default type or device, matrix
products of low precision, or deterministic algorithms. Workers of Ray start without any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

HOOKS = (
    "_global_forward_hooks",
    "_global_forward_hooks_always_called",
    "_global_forward_hooks_with_kwargs",
    "_global_forward_pre_hooks",
)
"""Tables of hooks that torch keeps for all modules together."""

SWITCHES = (
    ("generic", "all"), ("cuda", "all"), ("mkldnn", "all"), ("cuda", "matmul"), ("cuda", "conv"),
    ("cuda", "rnn"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn"),
)  # fmt: skip
"""Torch's switches for computing float32 in another type, `torch.backends.….fp32_precision`: the
outer ones first, which hold for those inside that are not set."""

AT_FIRST = {("cuda", "conv"): "tf32", ("cuda", "rnn"): "tf32"}
"""The switches that a new process finds set: cuDNN's, which `cudnn.allow_tf32` sets as well."""

TINY = 1e-40
"""A number that is lost where denormal numbers are flushed to zero."""


@contextmanager
def plain_state(*devices: str) -> Iterator[None]:
    """Compute in float32 without gradients; then everything is again as it was.

    Args:
        devices: on which autocast is switched off, `"cpu"` and `"cuda"`.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in devices:
            stack.enter_context(torch.autocast(kind, enabled=False, dtype=torch.bfloat16))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        stack.enter_context(no_modes())
        stack.enter_context(no_hooks_on_all_modules())
        stack.enter_context(plain_float32())
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


@contextmanager
def plain_float32() -> Iterator[None]:
    """Compute float32 in float32, whichever of torch's switches says otherwise."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set by the switches of torch 2.9 and later, of which this one tells nothing.
        precision = "highest"
    bindings: Any = torch._C
    held: list[tuple[str, str, str]] = []
    for place in SWITCHES if hasattr(bindings, "_get_fp32_precision_getter") else ():
        # One by one: an inner one that is not set tells what the outer ones are set to.
        held.append((*place, bindings._get_fp32_precision_getter(*place)))
        bindings._set_fp32_precision_setter(*place, AT_FIRST.get(place, "none"))
    cudnn = torch.backends.cudnn
    try:
        allowed = cudnn.allow_tf32
    except RuntimeError:
        # Both of its switches are set now, so that torch refuses only because this one is not.
        allowed = False
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32 = allowed
        for switch in reversed(held):
            bindings._set_fp32_precision_setter(*switch)


@contextmanager
def no_modes() -> Iterator[None]:
    """Put aside what intercepts every call of torch, the default device among it."""
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        for _ in range(torch.overrides._len_torch_function_stack()):  # type: ignore[attr-defined]
            stack.enter_context(torch.overrides._pop_mode_temporarily())
        # The default device is one of these modes; torch keeps a reference to it beside.
        kept = torch._GLOBAL_DEVICE_CONTEXT
        if (context := getattr(kept, "device_context", None)) is not None:
            kept.device_context = None
            stack.callback(setattr, kept, "device_context", context)
        yield


@contextmanager
def no_hooks_on_all_modules() -> Iterator[None]:
    """Put aside hooks that run in every module of the process, such as those of profilers."""
    tables = [vars(torch.nn.modules.module)[name] for name in HOOKS]
    held = [dict(table) for table in tables]
    for table in tables:
        table.clear()
    try:
        yield
    finally:
        for table, hooks in zip(tables, held, strict=True):
            table.update(hooks)


def flushes_denormals() -> bool:
    """Whether this thread takes tiny numbers for zero; torch can set that, but does not tell."""
    return (torch.tensor(TINY, device="cpu", dtype=torch.float32) * 1.0).item() == 0.0


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """A number of intra-op threads on the CPU; then again as many as before."""
    before = torch.get_num_threads()
    if before != threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
