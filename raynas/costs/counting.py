"""Counting what the choices of a supernet cost: multiply-accumulates, parameters, bit operations.

A module that computes or owns something else than the counters see (a slice of shared weights,
arithmetic of few bits, a custom kernel) says so itself, in a method

    def raynas_cost(self, *inputs: Tensor) -> tuple[int, int] | None

which gets the inputs of its forward and gives multiply-accumulates and parameters of the module
with all that is in it; `None` leaves both to the counters. Bit operations are never seen: a module
that computes in few bits states them in a method

    def raynas_bitops(self, *inputs: Tensor) -> int

which gives its multiply-accumulates times the bits of weights and of activations, again with all
that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, final

from raynas.costs.formulas import counter
from raynas.costs.stated_bits import StatedBitOps, hooked, require_bits_stated, states_bits
from raynas.costs.tables import CostTable
from raynas.errors import InputError, describe_error, require

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.chain_nodes import ChainNode


SMALL = 4_096
"""Numbers of a sample that modules run on sooner than they are taken through without data."""


@final
@dataclass(frozen=True)
class ModuleCost:
    """The multiply-accumulates and parameters of one module of a chain, for one sample.

    Args:
        macs: multiply-accumulates of convolutions, linear layers and matrix products.
        params: parameters, batch norm counted as affine and shared ones once.
        bitops: bit operations of the modules that state theirs.
    """

    macs: int
    params: int
    bitops: int


def flops_table(supernet: ChainSupernet) -> CostTable:
    """Multiply-accumulates for one sample of each choice of each block.

    Only convolutions, linear layers and matrix products (of attention, too) count, as in the
    papers. Counted on one example, a large one without data where the modules run so.

    Raises:
        InputError: a module that cannot be copied or run, or a `raynas_cost` that gives no costs.
    """
    costs = chain_costs(supernet)
    return table_of("flops", {name: cost.macs for name, cost in costs.items()}, supernet)


def params_table(supernet: ChainSupernet) -> CostTable:
    """Parameters of each choice of each block, counting batch norm as affine.

    Weights that choices of one block share are counted in each of them, and once in each.

    Raises:
        InputError: as `flops_table`, if modules have a `raynas_cost`.
    """
    from raynas.supernets.chain_nodes import chain_nodes

    if any(hasattr(module, "raynas_cost") for module in supernet.modules()):
        costs = chain_costs(supernet)
        return table_of("params", {name: cost.params for name, cost in costs.items()}, supernet)
    params = {node.name: count_params(node.module) for node in chain_nodes(supernet)}
    return table_of("params", params, supernet)


def bitops_table(supernet: ChainSupernet) -> CostTable:
    """Bit operations for one sample of each choice of each block, of modules that state theirs.

    A multiply-accumulate of weights of w bits and activations of a bits counts w × a times; what
    states no bits computes in full precision and is not counted, as in the SPOS paper.

    Raises:
        InputError: as `flops_table`; or no module states bit operations.
    """
    require_bits_stated(supernet)
    costs = chain_costs(supernet)
    return table_of("bitops", {name: cost.bitops for name, cost in costs.items()}, supernet)


def counted_tables(
    supernet: ChainSupernet, known: Mapping[str, CostTable] | None = None
) -> dict[str, CostTable]:
    """All that is counted of a supernet by name, every module run once at most.

    Args:
        supernet: counted; bit operations only where its modules state them.
        known: tables that were counted before.

    Raises:
        InputError: as `flops_table`.
    """
    names = {"flops": "macs", "params": "params"}
    if states_bits(supernet):
        names["bitops"] = "bitops"
    tables = {name: table for name, table in (known or {}).items() if name in names}
    missing = [name for name in names if name not in tables]
    if missing == ["params"]:
        tables["params"] = params_table(supernet)
    elif missing:
        costs = chain_costs(supernet)
        for name in missing:
            own = {node: getattr(cost, names[name]) for node, cost in costs.items()}
            tables[name] = table_of(name, own, supernet)
    return {name: tables[name] for name in names}


def table_of(name: str, costs: dict[str, int], supernet: ChainSupernet) -> CostTable:
    """The table of what every module of the chain costs, by its name."""
    blocks = tuple(
        tuple(costs[f"blocks[{block}][{choice}]"] for choice in range(choices))
        for block, choices in enumerate(supernet.space.choices)
    )
    return CostTable(name, costs["stem"] + costs["head"], blocks)


def chain_costs(supernet: ChainSupernet) -> dict[str, ModuleCost]:
    """The cost of every module of the chain, by its name: `stem`, `blocks[1][0]`, `head`.

    Raises:
        InputError: as `flops_table`.
    """
    from raynas.supernets.chain_nodes import examined_copy, on_meta
    from raynas.supernets.plain_torch import plain_torch

    small = prod(supernet.inputs.shape) <= SMALL
    devices = ("cpu", "meta") if small else ("meta", "cpu")
    errors: dict[str, Exception] = {}
    with plain_torch():
        for device in ("meta",) if on_meta(supernet) else devices:
            try:
                return costs_on(examined_copy(supernet).to(device), device)
            # Forwards that look at values, tensors that are no buffers, operators that only GPUs
            # have: each fails on one of them, in many ways.
            except Exception as error:
                errors[device] = error
    raise errors["cpu" if "cpu" in errors else "meta"]


def costs_on(replica: ChainSupernet, device: str) -> dict[str, ModuleCost]:
    """The costs of all modules of a copy on one example, on its device."""
    from raynas.supernets.chain_nodes import chain_nodes, example_batch

    x, found = example_batch(replica, 1).to(device), {}
    depth, following = 0, x
    for node in chain_nodes(replica):
        if node.depth > depth:
            depth, x = node.depth, following
        found[node.name], output = cost_of(node, x)
        if node.name.endswith("[0]") or node.depth == 0:
            following = output
    return found


def cost_of(node: ChainNode, x: torch.Tensor) -> tuple[ModuleCost, torch.Tensor]:
    """The cost of a module on one input, and its output.

    Raises:
        InputError: the module raises on data, or its `raynas_cost` or `raynas_bitops` gives none.
    """
    try:
        with counter() as count:
            stated, bits = StatedCosts(node, count), StatedBitOps(node)
            with stated.listening(), bits.listening():
                output = node.module(x.clone())
    except InputError:
        raise
    # Modules of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            node.name,
            f"a module that runs on one sample, {list(x.shape)}",
            describe_error(error),
            "Mend the module: supernet.check() tells more.",
        ) from error
    flops = count.get_total_flops() + stated.correction
    return ModuleCost(flops // 2, stated.params(), bits.total), output


def states_costs(module: torch.nn.Module) -> bool:
    """Whether a module states its costs."""
    return callable(getattr(module, "raynas_cost", None))


@final
class StatedCosts:
    """The costs that modules state themselves, in place of what is counted inside them.

    Args:
        node: whose modules are asked.
        count: of the operations that are run; read while they run.
    """

    def __init__(self, node: ChainNode, count: Any) -> None:
        self.correction = 0
        self._node = node
        self._count = count
        self._begun: list[int] = []
        self._params: dict[int, int] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ask every module with a `raynas_cost` before and after it runs."""
        with hooked(self._node.module, states_costs, self._begin, self._end):
            yield

    def params(self) -> int:
        """The parameters of the module, those of modules that stated theirs replaced."""
        from torch import nn

        if not self._params:
            return count_params(self._node.module)
        own: dict[int, int] = {}
        stated = 0
        waiting: list[nn.Module] = [self._node.module]
        seen: set[int] = set()
        while waiting:
            module = waiting.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            if id(module) in self._params:
                stated += self._params[id(module)]
                continue
            own |= {id(p): p.numel() for p in module.parameters(recurse=False)}
            stated += missing_affine(module)
            waiting += module.children()
        return sum(own.values()) + stated

    def _begin(self, module: torch.nn.Module, inputs: Any) -> None:
        self._begun.append(self._count.get_total_flops() + self.correction)

    def _end(self, name: str) -> Any:
        def end(module: Any, inputs: Any, output: Any) -> None:
            begun = self._begun.pop()
            cost = module.raynas_cost(*inputs)
            if cost is None:
                return
            macs, params = self._valid(cost, name)
            self.correction += begun + 2 * macs - (self._count.get_total_flops() + self.correction)
            self._params[id(module)] = params

        return end

    def _valid(self, cost: Any, name: str) -> tuple[int, int]:
        """The two numbers, if that is what they are."""
        require(
            isinstance(cost, tuple | list)
            and len(cost) == 2
            and all(isinstance(each, int) and each >= 0 for each in cost),
            self._node.name,
            "raynas_cost() to give (multiply-accumulates, parameters), two integers from 0 on, "
            "or None",
            f"{cost!r} from {name or 'the module itself'}",
            "Return both as integers.",
        )
        return int(cost[0]), int(cost[1])


def count_params(module: torch.nn.Module) -> int:
    """Parameters of one module after making its batch norms affine, shared ones once."""
    own = sum(parameter.numel() for parameter in module.parameters())
    return own + sum(missing_affine(layer) for layer in module.modules())


def missing_affine(module: torch.nn.Module) -> int:
    """Parameters that a layer gets when it is made affine: two a channel of a batch norm."""
    from torch.nn.modules.batchnorm import _BatchNorm

    if not isinstance(module, _BatchNorm) or module.running_mean is None or module.affine:
        return 0
    return 2 * module.num_features
