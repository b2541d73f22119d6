"""How activations behind a frozen prefix are stored (PCF-ES, appendix A.5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLOAT16_MAX = 65504.0


def encode(x: Tensor, bits: int) -> np.ndarray:
    """Activations `[n, c, h, w]` as they are stored: float32, or float16 clamped to its range.

    What is not finite stays so, and is reported with the candidates behind it.
    """
    host = x.detach().to("cpu", torch.float32)
    if bits == 16:
        clamped = host.clamp(-FLOAT16_MAX, FLOAT16_MAX)
        host = torch.where(host.isfinite(), clamped, host).to(torch.float16)
    return host.contiguous().numpy()


def decode(stored: np.ndarray, device: torch.device) -> Tensor:
    """Stored features on the device: images stay uint8, activations become float32.

    Copies first, since stored features are read-only views of a shared store.
    """
    x = torch.tensor(stored).to(device)
    if x.dtype == torch.float16:
        x = x.to(torch.float32)
    return channels_last(x)


def channels_last(x: Tensor) -> Tensor:
    """Feature maps `[n, c, h, w]` with channels last in memory; anything else as it is.

    Depthwise convolutions run fastest so. And kernels round differently in other layouts, so that
    an activation must have the same one whether it was just computed or comes from a shard.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
