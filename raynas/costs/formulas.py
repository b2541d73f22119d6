"""Multiply-accumulates of operations that PyTorch's counter does not know, times two as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

Shape = tuple[int, ...]


def mv_flop(matrix: Shape, vector: Shape, **_: Any) -> int:
    """A matrix `[m, k]` by a vector `[k]`."""
    return 2 * prod(matrix)


def addmv_flop(bias: Shape, matrix: Shape, vector: Shape, **_: Any) -> int:
    """A vector plus a matrix by a vector."""
    return mv_flop(matrix, vector)


def dot_flop(one: Shape, other: Shape, **_: Any) -> int:
    """A vector `[k]` by another."""
    return 2 * prod(one)


def addbmm_flop(bias: Shape, one: Shape, other: Shape, **_: Any) -> int:
    """The sum of products of `b` matrices `[n, k]` and `[k, m]`."""
    return 2 * prod(one) * other[2]


def int_mm_flop(one: Shape, other: Shape, **_: Any) -> int:
    """Matrices of 8-bit integers `[n, k]` and `[k, m]`."""
    return 2 * prod(one) * other[1]


def trilinear_flop(one: Shape, weight: Shape, other: Shape, *expanded: Any, **_: Any) -> int:
    """The sum of products of three tensors, as in a bilinear layer.

    For each entry of weight `[o, i, j]` and sample, one accumulation, as in the papers' counts; the
    product that scales it is left out, as are scales everywhere.
    """
    shapes = [list(shape) for shape in (one, weight, other)]
    for shape, places in zip(shapes, expanded[:3], strict=True):
        for place in sorted(places):
            shape.insert(place, 1)
    return 2 * prod(max(sizes) for sizes in zip(*shapes, strict=True))


def attention_flop(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Attention of `[…, t, d]` on keys `[…, s, d]` and values `[…, s, v]`."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def linear_flop(x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    """A linear layer that runs as one operation."""
    return 2 * prod(x) * weight[0]


def rnn_flop(x: Shape, weight0: Shape, weight1: Shape, *_: Any, **__: Any) -> int:
    """One layer and direction of a recurrent network on `[t, n, i]` (or `[n, t, i]`)."""
    return 2 * x[0] * x[1] * (prod(weight0) + prod(weight1))


def own_formulas() -> dict[Any, Callable[..., int]]:
    """The formulas by operation: those that this version of PyTorch has and its counter lacks."""
    import torch
    from torch.utils.flop_counter import flop_registry

    aten, mkldnn = torch.ops.aten, torch.ops.mkldnn
    wanted: list[tuple[Any, str, Callable[..., int]]] = [
        (aten, "mv", mv_flop),
        (aten, "addmv", addmv_flop),
        (aten, "dot", dot_flop),
        (aten, "vdot", dot_flop),
        (aten, "addbmm", addbmm_flop),
        (aten, "_int_mm", int_mm_flop),
        (aten, "_trilinear", trilinear_flop),
        (aten, "_scaled_dot_product_flash_attention_for_cpu", attention_flop),
        (aten, "mkldnn_rnn_layer", rnn_flop),
        (mkldnn, "_linear_pointwise", linear_flop),
    ]
    found = {getattr(space, name): f for space, name, f in wanted if hasattr(space, name)}
    return {packet: formula for packet, formula in found.items() if packet not in flop_registry}


@contextmanager
def counter() -> Iterator[Any]:
    """PyTorch's counter with our formulas, and attention in operations that it can see."""
    import warnings

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with FlopCounterMode(display=False, custom_mapping=own_formulas()) as count:
                # What the counter adds to names of modules needs gradients, which we do not use,
                # and is refused by TorchScript.
                count.mod_tracker.__exit__(None, None, None)
                try:
                    yield count
                finally:
                    count.mod_tracker.__enter__()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
