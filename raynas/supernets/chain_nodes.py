"""The modules of a chain by name, and copies of a supernet to examine."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

import torch
from torch import Tensor, nn

from raynas.errors import InputError, describe_error
from raynas.supernets.attributes import module_attributes
from raynas.supernets.reach import Reach, registered_names

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet


Copied = TypeVar("Copied", bound=nn.Module)


@final
@dataclass(frozen=True)
class ChainNode:
    """One module of a chain.

    Args:
        name: `stem`, `blocks[1][0]` (block and choice, both from 0) or `head`.
        depth: 0 for the stem, k for choices of the k-th block, and one more for the head.
        module: that runs there.
    """

    name: str
    depth: int
    module: nn.Module


def chain_nodes(supernet: ChainSupernet) -> list[ChainNode]:
    """Every module of the chain: the stem, the choices block by block, and the head."""
    nodes = [ChainNode("stem", 0, supernet.stem)]
    for block, choices in enumerate(supernet.space.choices):
        for choice in range(choices):
            module = supernet.node((0,) * block + (choice,))
            nodes.append(ChainNode(f"blocks[{block}][{choice}]", block + 1, module))
    return [*nodes, ChainNode("head", supernet.space.blocks + 1, supernet.head)]


def example_batch(supernet: ChainSupernet, count: int) -> Tensor:
    """Fixed samples `[count, …]` on the CPU."""
    return torch.tensor(supernet.inputs.examples(count))


def on_meta(module: nn.Module) -> bool:
    """Whether a module has tensors without data."""
    return any(tensor.is_meta for tensor in every_tensor(module))


def every_tensor(module: nn.Module) -> Iterator[Tensor]:
    """Its parameters and buffers, each once."""
    yield from module.parameters()
    yield from module.buffers()


def examined_copy(supernet: ChainSupernet) -> ChainSupernet:
    """A copy in evaluation mode that may be run and spoilt: on the CPU, with contiguous tensors.

    Raises:
        InputError: a module that cannot be copied, by name.
    """
    replica = copied(supernet)
    if not on_meta(replica):
        replica.to("cpu")
        lay_out_plainly(replica)
    return replica.eval()


def copied(supernet: ChainSupernet) -> ChainSupernet:
    """A deep copy.

    Raises:
        InputError: a module that cannot be copied, by name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            replica = copy_of(supernet)
    # Modules of a user raise nearly anything.
    except Exception as error:
        for node in chain_nodes(supernet):
            try:
                copy.deepcopy(node.module)
            except Exception as own:
                raise not_copied(node.name, own) from own
        raise not_copied("supernet", error) from error
    require_whole_copy(supernet, replica)
    return replica


def copy_of(module: Copied) -> Copied:
    """A deep copy of a module, sooner than `copy.deepcopy` makes it."""
    return copy.deepcopy(module, empty_containers(module))


def empty_containers(module: nn.Module) -> dict[int, Any]:
    """New containers for the empty ones that modules hold, by `id`: a memo of `copy.deepcopy`.

    Every module has about ten of them, for hooks that are not there, and copying these one by one
    took about a third of the time of a copy.
    """
    return {
        id(value): type(value)()
        for each in module.modules()
        for value in vars(each).values()
        if type(value) in (OrderedDict, dict, set) and not value and not state_of(value)
    }


def state_of(container: Any) -> Any:
    """The attributes of a container, which an `OrderedDict` may have."""
    return getattr(container, "__dict__", None)


def require_whole_copy(supernet: ChainSupernet, replica: ChainSupernet) -> None:
    """See that no function of a copy still runs modules of the original.

    A forward or a hook that was patched in may hold a module of the supernet, and functions are not
    copied: the copy would compute with the weights and statistics of the original.

    Raises:
        InputError: one that does, by name.
    """
    reach = Reach(registered_names(supernet))
    for node in chain_nodes(replica):
        for module in node.module.modules():
            reach.meet(type(module))
            for attribute, value in module_attributes(module, frozenset()).items():
                reach.digest(value)
                reach.reached()
                if reach.referred:
                    raise InputError(
                        node.name,
                        "functions that get their modules as arguments, since candidates run in "
                        "copies",
                        f"{attribute} of {type(module).__name__}, which holds "
                        f"{min(reach.referred)}",
                        "Write a subclass of the module with its own forward instead.",
                    )


def not_copied(name: str, error: Exception) -> InputError:
    """The error for a module that `copy.deepcopy` refuses."""
    return InputError(
        name,
        "a module that can be copied, since candidates run in copies",
        describe_error(error),
        "Keep locks, files and handles out of modules (or define __deepcopy__), and remove pruning "
        "and weight_norm hooks (torch.nn.utils.parametrizations can be copied).",
    )


def lay_out_plainly(module: nn.Module) -> None:
    """Give every tensor of a copy the plain layout, in which kernels always round the same way.

    Also strides that PyTorch takes for contiguous (of sizes of 1) are made the usual ones, since
    kernels are chosen by them.
    """
    with torch.no_grad():
        for tensor in every_tensor(module):
            if type(tensor.data) is Tensor and tensor.layout == torch.strided:
                tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
