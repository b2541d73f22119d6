"""Storage of activations behind a frozen prefix: at 32, 16, 8 or 4 bits (PCF-ES, appendix A.5).

At 8 and 4 bits each channel of a shard has an affine scale of its own: code k stands for
`low + k * step`, from the smallest finite value of the channel to the largest. A channel that has
values that are not finite gives up its three highest codes for them, so that they come back as they
were and the candidates behind them are still reported. The channels of sequences
`[n, tokens, features]` are their features: the tokens of one feature have a common range, the
features of one token have not.
"""

from __future__ import annotations

import warnings
from math import inf, nan, prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.errors import require
from raynas.shards.features import INPUTS, StoredFeatures

FLOAT16_MAX = 65504.0

AFFINE_MAX = 2.0**126
"""Finite values beyond are stored as this: from -2^126 to 2^126 no step of the way overflows."""

NOT_FINITE = (nan, inf, -inf)
"""The values that the codes above the highest finite one stand for, in this order."""


def encode(x: Tensor, bits: int) -> StoredFeatures:
    """Activations as they are stored; computed on their device.

    A code is off by half a step of its channel at most, and a channel of one value comes back
    exactly, as what was encoded before does but for float32's rounding.

    Args:
        x: `[n, tokens, features]`, or any other shape with channels second; float32, or float16
            or bfloat16, of which float32 holds every value.
        bits: 32 (float32), 16 (float16, clamped to its range), 8 or 4 (affine codes, clamped to
            ±2^126). What is not finite stays so.

    Raises:
        InputError: activations of another type, which would come back as float32.
    """
    require(
        x.dtype in (torch.float32, torch.float16, torch.bfloat16) and x.dim() >= 2,
        "supernet",
        "blocks that pass on floats of at most 32 bits, [n, …]",
        f"{x.dtype} of shape {tuple(x.shape)}",
        "Convert the activation at the end of the block, or search without freezing.",
    )
    precision = str(x.dtype).removeprefix("torch.")
    x = x.detach().to(torch.float32)
    shape = tuple(x.shape[1:])
    if bits == 32:
        return StoredFeatures(to_host(x), "float32", shape, precision=precision)
    if bits == 16:
        clamped = torch.where(x.isfinite(), x.clamp(-FLOAT16_MAX, FLOAT16_MAX), x)
        values = to_host(clamped.to(torch.float16))
        return StoredFeatures(values, "float16", shape, precision=precision)
    codes, channels = quantize(x, bits)
    values = to_host(pack_nibbles(codes) if bits == 4 else codes)
    return StoredFeatures(values, f"affine{bits}", shape, to_host(channels), precision)


def decode(stored: StoredFeatures, device: torch.device) -> Tensor:
    """Stored features on the device: inputs keep their type, activations become float32.

    Copies codes, not the activations that they stand for, since they are smaller.
    """
    x = copied(stored.values, device)
    if stored.quantization == INPUTS:
        return channels_last(x)
    if stored.channels is None:
        return laid_out(x.to(torch.float32))
    packed = stored.quantization == "affine4"
    codes = laid_out(unpack_nibbles(x, stored.shape) if packed else x)
    return dequantize(codes, stored.channels, 4 if packed else 8)


def restore(stored: StoredFeatures, device: torch.device, precision: str) -> Tensor:
    """Stored features on the device, as the blocks before them left them.

    Under autocast some modules give float32 (norms, sums with float32 parameters), and what
    follows computes otherwise with it. Inputs are left to the stem, as they were given.

    Args:
        stored: the features.
        device: receives them.
        precision: `"float32"`, or the type that autocast computes in.
    """
    x = decode(stored, device)
    if stored.quantization == INPUTS or precision == "float32":
        return x
    return x.to(getattr(torch, stored.precision))


def copied(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device of what may be a read-only view of a shared store."""
    if device.type == "cpu":
        return torch.tensor(values)
    with warnings.catch_warnings():
        # That the view must not be written to: it is read once, without a copy on the host between.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values).to(device)


def quantize(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The code of every value, and what the codes of each channel stand for.

    Returns:
        uint8 codes of the shape of `x`, and `float32[3, c]`; see `StoredFeatures`.
    """
    others = [dim for dim in range(x.dim()) if dim != channel_axis(x.dim())]
    finite = x.isfinite()
    clamped = x.clamp(-AFFINE_MAX, AFFINE_MAX)
    low = clamped.where(finite, inf).amin(others, keepdim=True)
    high = clamped.where(finite, -inf).amax(others, keepdim=True)
    low, high = low.where(low <= high, 0.0), high.where(low <= high, 0.0)
    whole = finite.to(torch.float32).amin(others, keepdim=True)
    top = 2.0**bits - 1 - len(NOT_FINITE) * (1 - whole)
    step = (high - low) / top
    codes = (clamped - low) / step.where(step > 0, 1.0)
    codes = codes.round().minimum(top)
    places = (x.isnan(), x.isposinf(), x.isneginf())
    for offset, place in enumerate(places, start=1):
        codes = torch.where(place, top + offset, codes)
    return codes.to(torch.uint8), torch.stack((low, step, top)).reshape(3, -1)


def dequantize(codes: Tensor, channels: np.ndarray, bits: int) -> Tensor:
    """The values that codes `[n, *shape]` stand for, float32, in the layout of the codes."""
    scales = [1] * codes.dim()
    scales[channel_axis(codes.dim())] = channels.shape[1]
    low, step, top = torch.tensor(channels).to(codes.device).reshape(3, *scales)
    x = codes.to(torch.float32)
    values = x.mul(step).add_(low)
    if (channels[2] < 2**bits - 1).any():
        for offset, value in enumerate(NOT_FINITE, start=1):
            values = torch.where(x == top + offset, value, values)
    return values


def channel_axis(dimensions: int) -> int:
    """The dimension along which scales differ: the last of sequences, else the second."""
    return 2 if dimensions == 3 else 1


def pack_nibbles(codes: Tensor) -> Tensor:
    """Codes of 4 bits `[n, ...]`, neighbours of a sample two to a byte: `[n, ceil(size / 2)]`."""
    flat = codes.flatten(1)
    flat = F.pad(flat, (0, flat.shape[1] % 2))
    return flat[:, 0::2] | (flat[:, 1::2] << 4)


def unpack_nibbles(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `pack_nibbles`, where `shape` is that of one sample's codes."""
    flat = torch.stack((packed & 15, packed >> 4), dim=2).flatten(1)
    return flat[:, : prod(shape)].reshape(-1, *shape)


def to_host(x: Tensor) -> np.ndarray:
    """A tensor as an array, the first dimension slowest."""
    return x.contiguous().cpu().numpy()


def channels_last(x: Tensor) -> Tensor:
    """Feature maps `[n, c, h, w]` with channels last in memory, anything else with them in order.

    Depthwise convolutions run fastest so. And kernels round differently in other layouts, so that
    an activation must have the same one whether it was just computed or comes from a shard.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()


def laid_out(x: Tensor) -> Tensor:
    """An activation as `channels_last` gives it, with the strides that follow from its shape.

    A dimension of one value may have any stride in either layout, and the kernels for feature maps
    of one pixel or channel are chosen by it.
    """
    x = channels_last(x)
    if 1 not in x.shape:
        return x
    order = (0, 2, 3, 1) if x.dim() == 4 else tuple(range(x.dim()))
    strides, step = [0] * x.dim(), 1
    for dim in reversed(order):
        strides[dim] = step
        step *= x.shape[dim]
    return x.as_strided(x.shape, strides)
