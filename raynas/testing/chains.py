"""The contract of supernets: what evaluation, training and export rely on, checked on examples.

For a supernet of your own, which may have random weights::

    def test_my_supernet():
        check_supernet(my_supernet())
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from raynas.costs.counting import count_params, flops_table, params_table
from raynas.costs.formulas import counter
from raynas.export import plain_subnet
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, digest, load, save
from raynas.supernets.chain_nodes import example_batch
from raynas.supernets.plain_torch import plain_torch
from raynas.task import Task
from raynas.workers.replicas import pack, unpack

SAMPLES = 3
"""The number of examples that modules run on."""


def check_supernet(
    supernet: ChainSupernet, task: Task | None = None, *, count: int = 4, seed: int = 0
) -> None:
    """Check that a supernet can be searched, and what a search of it relies on.

    Beside `ChainSupernet.check`: ranges of blocks compose to the whole, and the prefix alone
    determines an activation; a subnet, alone or exported, is the same network, and costs what the
    tables say; names stand for choices; copies, packed ones, and what is saved and loaded again
    are the same supernet, and other weights are another one.

    Args:
        supernet: on the CPU; it stays as it is.
        task: that its outputs must suit; classification if there are `num_classes`.
        count: how many random architectures to look at.
        seed: of the architectures.

    Raises:
        InputError: what a search could not use, by block and choice.
        AssertionError: a broken promise, by name.
    """
    supernet.check(task)
    rng = np.random.default_rng(seed)
    chosen = [supernet.space.sample(rng) for _ in range(count)]
    before = digest(supernet)
    check_identity(supernet)
    with plain_torch(), torch.no_grad():
        # A copy in evaluation mode, so that the caller's stays in the mode it has.
        replica = copy.deepcopy(supernet).eval()
        x = example_batch(replica, SAMPLES)
        for one, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
            check_ranges(replica, x, one, other)
            check_subnet(replica, x, one)
        check_costs(replica, x, chosen)
    for each in chosen:
        named = supernet.decode(each)
        assert supernet.encode(named) == each, f"{named} stands for {supernet.encode(named)}"
    assert digest(supernet) == before, "looking at the supernet has changed it"


def check_ranges(
    supernet: ChainSupernet, x: Tensor, one: Architecture, other: Architecture
) -> None:
    """Check that blocks run in ranges as at once, whatever comes behind them."""
    whole = supernet(x.clone(), one)
    for depth in range(1, supernet.space.blocks + 1):
        shallow = supernet(x.clone(), one, stop=depth)
        mixed = one[:depth] + other[depth:]
        same = torch.equal(supernet(x.clone(), mixed, stop=depth), shallow)
        assert same, f"the output of block {depth - 1} depends on the choices behind it"
        deep = supernet(shallow.clone(), one, start=depth)
        assert torch.equal(deep, whole), f"{list(one)} is another one in two parts, at {depth}"


def check_subnet(supernet: ChainSupernet, x: Tensor, one: Architecture) -> None:
    """Check that an architecture on its own computes what it does in the supernet."""
    whole = supernet(x.clone(), one)
    alone = supernet.subnet(one)
    assert torch.equal(alone(x.clone()), whole), f"subnet({list(one)}) is another network"
    exported = plain_subnet(supernet, one, None)
    assert torch.allclose(exported(x.clone()), whole, rtol=1e-4, atol=1e-5), (
        f"{list(one)} is another network when it is exported"
    )
    shared = {id(parameter) for parameter in supernet.parameters()}
    own = [name for name, each in exported.named_parameters() if id(each) in shared]
    assert not own, f"an exported {list(one)} shares {own} with the supernet"


def check_costs(supernet: ChainSupernet, x: Tensor, chosen: Sequence[Architecture]) -> None:
    """Check that the tables add up to what the exported network computes and owns."""
    flops, params = flops_table(supernet), params_table(supernet)
    for each in chosen:
        exported = plain_subnet(supernet, each, None)
        if any(hasattr(module, "raynas_cost") for module in exported.modules()):
            # It computes what no counter sees.
            continue
        with counter() as count:
            exported(x[:1].clone())
        told, found = flops.of(each), count.get_total_flops() // 2
        assert told == found, f"{list(each)} has {found} FLOPs, and {told} by the table"
        told, found = params.of(each), count_params(exported)
        assert told == found, f"{list(each)} has {found} parameters, and {told} by the table"


def check_identity(supernet: ChainSupernet) -> None:
    """Check that the same supernet is known again, and another one is told from it."""
    mine = digest(supernet)
    replica = copy.deepcopy(supernet)
    assert digest(replica) == mine, "a copy has another digest"
    assert digest(unpack(pack(supernet))) == mine, "a packed copy has another digest"
    tensors = [each for each in replica.parameters() if each.is_floating_point()]
    with torch.no_grad():
        for each in tensors:
            each.add_(1.0)
    assert not tensors or digest(replica) != mine, "other weights have the same digest"
    with TemporaryDirectory() as folder:
        file = Path(folder, "supernet.safetensors")
        save(supernet, file)
        load(replica, file)
    assert digest(replica) == mine, "what was saved and loaded has another digest"
