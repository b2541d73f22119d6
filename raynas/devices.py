"""The processor and the GPU of this machine: which one computes, and what it is called."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raynas.errors import InputError

if TYPE_CHECKING:
    import torch

THREADS = 1024
"""Intra-op threads that a process may have on the CPU: more would not even start."""


def resolve_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process; CUDA must be visible to it if it is asked for."""
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            "device", "a CUDA device", "none visible", "Use device='cpu', or give workers a GPU."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def device_model(device: torch.device) -> str:
    """The model of the processor or the GPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_model()


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor, as Linux names them; empty elsewhere."""
    lines = (*told_of_cpu("flags"), *told_of_cpu("Features"))
    return frozenset(flag for line in lines for flag in line.split())


def cpu_model() -> str:
    """The name of the processor; its architecture where the system tells no more."""
    return cpu_name() or platform.processor() or platform.machine()


def cpu_name() -> str | None:
    """The name of the processor if the system tells one, of which there are no others.

    Linux names processors of ARM by their designs, and small boards as a whole.
    """
    implementers, parts = told_of_cpu("CPU implementer"), told_of_cpu("CPU part")
    if implementers and parts:
        cores = sorted(set(zip(implementers, parts, strict=False)))
        designs = " and ".join(f"{maker} {part}" for maker, part in cores)
        return ", ".join(filter(None, [board_name(), f"ARM {designs}"]))
    names = told_of_cpu("model name")
    if names:
        return names[0]
    processor = platform.processor()
    # Windows tells family and model here, other systems "arm" or "x86_64".
    return processor if " " in processor else None


def told_of_cpu(key: str) -> list[str]:
    """The values of one key that Linux tells of each core; none elsewhere."""
    pairs = (line.partition(":") for line in system_text("/proc/cpuinfo").splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key and value.strip()]


def board_name() -> str:
    """The model of a small board, which its device tree holds; empty elsewhere."""
    return system_text("/proc/device-tree/model").strip("\0 \n")


def system_text(path: str) -> str:
    """A file of the system's; empty where there is none."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
