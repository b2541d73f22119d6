"""States of torch that a caller may be in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle


@contextmanager
def switched(switch: Callable[[], object], back: Callable[[], object]) -> Iterator[None]:
    """Something global for the time of the context."""
    switch()
    try:
        yield
    finally:
        back()


class Doubling(TorchFunctionMode):
    """Doubles what a batch norm gives."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 2 if func is torch.nn.functional.batch_norm else found


class Handle:
    """A hook that can be closed."""

    def __init__(self, hook: RemovableHandle) -> None:
        self.close = hook.remove


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "default dtype": lambda: switched(
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "default device": lambda: torch.device("meta"),
    "default device, set": lambda: switched(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "matmul precision": lambda: switched(
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.set_float32_matmul_precision("highest"),
    ),
    "matmul precision, by backend": lambda: switched(
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "ieee"),
    ),
    "convolution precision": lambda: switched(
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "none"),
    ),
    "precision of all": lambda: switched(
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends, "fp32_precision", "none"),
    ),
    "deterministic algorithms": lambda: switched(
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "deterministic algorithms, warnings": lambda: switched(
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "no mkldnn": lambda: switched(
        lambda: torch.backends.mkldnn.set_flags(False),
        lambda: torch.backends.mkldnn.set_flags(True),
    ),
    "denormals": lambda: switched(
        lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)
    ),
    "precision of one backend": lambda: switched(
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "none"),
    ),
    "precision of convolutions": lambda: switched(
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "none"),
    ),
    "no TF32 in cuDNN": lambda: switched(
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
    ),
    "precision of cuDNN's convolutions": lambda: switched(
        lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
        lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),
    ),
    "a mode that doubles": Doubling,
    "a hook on all modules": lambda: closing(
        Handle(register_module_forward_hook(lambda module, inputs, output: output * 2))
    ),
    "two threads": lambda: switched(
        lambda: torch.set_num_threads(2), lambda: torch.set_num_threads(1)
    ),
}
