"""Running one module of a chain, and comparing what it gave."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from raynas.errors import InputError, describe_error
from raynas.supernets.chain_nodes import ChainNode
from raynas.supernets.plain_torch import seed_generators


def run_node(node: ChainNode, x: Tensor) -> Any:
    """The output of a module; its own exception becomes an `InputError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return node.module(x)
    except InputError:
        raise
    # Modules of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            node.name,
            f"a module that runs on {str(x.dtype).removeprefix('torch.')} {list(x.shape)}",
            describe_error(error),
            remedy_for(node, x),
        ) from error


def run_seeded(node: ChainNode, x: Tensor) -> Tensor:
    """The output of a module that draws the same random numbers each time, and that nothing else
    writes to."""
    seed_generators()
    output: Tensor = run_node(node, x)
    return output.clone()


def remedy_for(node: ChainNode, x: Tensor) -> str:
    """A guess at the mistake behind an exception."""
    others = {str(p.dtype) for p in node.module.parameters() if p.is_floating_point()}
    if others - {"torch.float32"}:
        return f"Its parameters are {', '.join(sorted(others))}: call float() on the supernet."
    if node.depth == 0 and x.dtype == torch.uint8:
        return (
            "The stem gets images of bytes, [n, channels, height, width]: begin it with "
            "raynas.supernets.Normalize(mean, std), or, for samples that are floats, give "
            "inputs=raynas.Inputs(shape, 'float32')."
        )
    if node.depth == 0 and not x.is_floating_point():
        return (
            "The stem gets ids below the vocabulary of inputs: an embedding has an entry for each."
        )
    if node.depth == 0:
        return "The stem gets samples as inputs describes them."
    return "It gets the output of the module before it: make their channels and shapes fit."


def close(one: Any, other: Any) -> bool:
    """Whether two outputs are the same but for rounding; `True` without data."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return False
    return one.is_meta or torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def bits(tensor: Tensor) -> bytes | None:
    """The content of a tensor; `None` where it has none."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        return None
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same_bits(one: Any, other: Tensor) -> bool:
    """Whether two tensors hold the same bits; `True` without data."""
    if not isinstance(one, Tensor) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.is_meta or bits(one) == bits(other)
