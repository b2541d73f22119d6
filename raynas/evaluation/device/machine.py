"""What evaluates: floating-point results agree to the bit only between machines of one kind."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch


def describe(device: torch.device) -> dict[str, str]:
    """What the results of a worker depend on beside supernet, data and protocol.

    On a CPU, kernels are chosen by its instructions and by the sizes of its caches.

    Returns:
        `"device"` (`"cpu"` or `"cuda"`), the model of its `"processor"`, and the versions of
        `"torch"` and `"numpy"`.
    """
    processor = f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    return {
        "device": device.type,
        "processor": processor,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def cpu_model() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*names, platform.processor()]), platform.machine())
