"""Digests of tensors and arrays by type, shape and bits."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def tensor_digest(tensor: Tensor) -> bytes:
    """The digest of type, shape and bits of a tensor, wherever it is."""
    total = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode(), digest_size=16)
    if tensor.is_meta:
        return total.digest()
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        total.update(f"{plain.qscheme()}".encode())
        total.update(plain.dequantize().contiguous().numpy().tobytes())
        plain = plain.int_repr()
    plain = plain.to_dense() if plain.layout != torch.strided else plain
    plain = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    total.update(plain.view(torch.uint8).numpy().data)
    return total.digest()


def array_digest(array: np.ndarray) -> bytes:
    """The digest of type, shape and bits of an array; objects are only counted."""
    total = hashlib.blake2b(f"{array.dtype} {array.shape}\n".encode(), digest_size=16)
    if array.dtype.kind != "O":
        total.update(np.ascontiguousarray(array).tobytes())
    return total.digest()
