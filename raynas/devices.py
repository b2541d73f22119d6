"""The processor and the GPU of this machine: which one computes, and what it is called."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

import torch

from raynas.errors import InputError


def resolve_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process; CUDA must be visible to it if it is asked for."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            "device", "a CUDA device", "none visible", "Use device='cpu', or give workers a GPU."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def device_model(device: torch.device) -> str:
    """The model of the processor or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_model()


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    names = ("flags", "Features")
    return frozenset(
        flag for line in lines if line.startswith(names) for flag in line.partition(":")[2].split()
    )


def cpu_model() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*names, platform.processor()]), platform.machine())
