"""Counting what the choices of a supernet cost: multiply-accumulates and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynas.costs.tables import CostTable

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import ChainSupernet


def flops_table(supernet: ChainSupernet) -> CostTable:
    """Multiply-accumulates for one image of each choice of each block (design, section 4.14).

    Counted on the meta device, so nothing is computed.
    """
    import torch

    from raynas.supernets.chain import to_meta

    replica = to_meta(supernet)
    dtype = getattr(torch, supernet.inputs.dtype)
    image = torch.empty((1, *supernet.inputs.shape), dtype=dtype, device="meta")
    base, x = count_macs(replica.stem, image)
    blocks = []
    for block, choices in enumerate(supernet.space.choices):
        counted = [count_macs(replica.node((0,) * block + (c,)), x) for c in range(choices)]
        blocks.append(tuple(macs for macs, _ in counted))
        x = counted[0][1]
    head, _ = count_macs(replica.head, x)
    return CostTable("flops", base + head, tuple(blocks))


def count_macs(module: torch.nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """The multiply-accumulates of one module on one input, and its output."""
    from torch import no_grad
    from torch.utils.flop_counter import FlopCounterMode

    with no_grad(), FlopCounterMode(display=False) as counter:
        output = module(x)
    return counter.get_total_flops() // 2, output


def params_table(supernet: ChainSupernet) -> CostTable:
    """Parameters of each choice of each block, counting batch norm as affine.

    Weights that choices of one block share are counted in each of them.
    """
    base = count_params(supernet.stem) + count_params(supernet.head)
    blocks = tuple(
        tuple(count_params(supernet.node((0,) * block + (c,))) for c in range(choices))
        for block, choices in enumerate(supernet.space.choices)
    )
    return CostTable("params", base, blocks)


def count_params(module: torch.nn.Module) -> int:
    """Parameters of one module after making its batch norms affine."""
    from raynas.supernets.chain import batch_norms

    own = sum(parameter.numel() for parameter in module.parameters())
    missing = sum(2 * norm.num_features for norm in batch_norms(module) if not norm.affine)
    return own + missing
