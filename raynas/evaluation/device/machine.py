"""Facts about a machine: floating-point results agree to the bit only between equal ones."""

from __future__ import annotations

import os

import numpy as np
import torch

from raynas.devices import cpu_flags, cpu_model


def machine_facts(device: torch.device) -> dict[str, str]:
    """The facts about this machine that results depend on, beside supernet, data and protocol.

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


def gpu_uuids(device: torch.device) -> tuple[str, ...]:
    """The UUID of a GPU, as NVML names it; none for a processor."""
    if device.type != "cuda":
        return ()
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if uuid is None:
        # By its number on this machine at least, so that GPUs are told apart.
        return (f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '0')}",)
    text = str(uuid)
    return (text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}",)


def computes_fast_in(precision: str, device: str) -> bool:
    """Whether this machine computes as fast in a precision as in float32.

    Args:
        precision: `"float32"`, `"bfloat16"` or `"float16"`.
        device: `"auto"`, `"cpu"` or `"cuda"`.
    """
    if precision == "float32" or (device != "cpu" and torch.cuda.is_available()):
        return True
    native = torch.ops.mkldnn
    supported = {
        "bfloat16": native._is_mkldnn_bf16_supported,
        "float16": native._is_mkldnn_fp16_supported,
    }[precision]()
    # Without its instructions bfloat16 is emulated with float32's, on processors that have AVX-512.
    flags = cpu_flags()
    instructions = {
        "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
        "float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
    }
    return bool(supported) and any(name in flags for name in instructions[precision])
