"""The bit operations that modules state themselves, each in its `raynas_bitops`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from raynas.errors import is_whole, require

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.chain_nodes import ChainNode


def states_bits(supernet: ChainSupernet) -> bool:
    """Whether any module of a supernet states bit operations."""
    return any(is_stated(module) for module in supernet.modules())


def require_bits_stated(supernet: ChainSupernet) -> None:
    """Raise `InputError` unless some module of the supernet states bit operations."""
    require(
        states_bits(supernet),
        "constraint",
        "a supernet with quantized modules beside BitOps",
        "one in which no module states bit operations",
        "Search raynas.supernets.resnet_mixed, give quantized modules a method raynas_bitops, or "
        "limit FLOPs instead.",
    )


def is_stated(module: torch.nn.Module) -> bool:
    """Whether a module states its bit operations."""
    return callable(getattr(module, "raynas_bitops", None))


@contextmanager
def hooked(
    module: torch.nn.Module,
    asked: Callable[[torch.nn.Module], bool],
    begin: Callable[[torch.nn.Module, Any], None],
    end: Callable[[str], Any],
) -> Iterator[None]:
    """Call hooks before and after some parts of a module run, for a while.

    Args:
        module: whose parts run.
        asked: whether a part gets hooks.
        begin: a hook for before.
        end: makes a hook for after, from the name of the part.
    """
    handles = []
    for name, part in module.named_modules():
        if asked(part):
            handles.append(part.register_forward_pre_hook(begin))
            handles.append(part.register_forward_hook(end(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@final
class StatedBitOps:
    """The bit operations that the modules of a node state while it runs.

    Those inside a module that states its own are not asked.

    Args:
        node: whose modules are asked.
    """

    def __init__(self, node: ChainNode) -> None:
        self.total = 0
        self._node = node
        self._within = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ask every module with a `raynas_bitops` as often as it runs."""
        with hooked(self._node.module, is_stated, self._begin, self._end):
            yield

    def _begin(self, module: torch.nn.Module, inputs: Any) -> None:
        self._within += 1

    def _end(self, name: str) -> Any:
        def end(module: Any, inputs: Any, output: Any) -> None:
            self._within -= 1
            if self._within == 0:
                self.total += self._valid(module.raynas_bitops(*inputs), name)

        return end

    def _valid(self, stated: Any, name: str) -> int:
        """The number, if that is what it is."""
        require(
            is_whole(stated) and stated >= 0,
            self._node.name,
            "raynas_bitops() to give a whole number from 0 on",
            f"{stated!r} from {name or 'the module itself'}",
            "Return multiply-accumulates times bits of weights times bits of activations.",
        )
        return int(stated)
