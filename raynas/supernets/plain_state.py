"""State of a supernet beside parameters and buffers: plain values that its modules keep and change.

A temperature that falls with every step, a counter, an average kept as a number: `state_dict` knows
nothing of them, though outputs depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from raynas.supernets.attributes import is_cache, is_own_table
from raynas.supernets.structure import Attributes, read_attributes
from raynas.supernets.tensor_digest import tensor_digest

Place = tuple[str, str]
"""The names of a module and of one of its attributes."""

Values = Mapping[Place, Any]
"""Plain values by place."""

PLAIN = (
    type(None), bool, int, float, str, bytes, torch.Size, torch.dtype, torch.device,
)  # fmt: skip
"""Types of values that do not change themselves."""

LARGEST = 2**16
"""Elements of an unregistered tensor; larger ones are what a forward leaves behind, not state."""

DEEPEST = 20
"""Containers in one another."""

STATED = "raynas_identity()"
"""The name under which `read_attributes` has what a module says of itself."""

NONE: Any = object()
"""Stands for what is no plain value."""


@final
class PlainState:
    """The attributes of a supernet's modules at one moment, to tell what has changed since.

    Plain are numbers, texts, small tensors, and lists, tuples and dictionaries of them. Of others
    it can be said only that they have changed.

    Args:
        supernet: whose modules are looked at; they stay as they are.
    """

    def __init__(self, supernet: nn.Module) -> None:
        self._supernet = supernet
        self._values = dict(plain_values(supernet))
        self._others = other_digests(supernet)
        self._changed: dict[Place, None] = {}

    def changed(self) -> dict[Place, Any]:
        """The present values of all that has ever been seen to differ, or was put back."""
        now = dict(plain_values(self._supernet))
        for place, value in now.items():
            if not same(value, self._values.get(place, NONE)):
                self._changed[place] = None
        return {place: now[place] for place in self._changed if place in now}

    def put_back(self, values: Values) -> None:
        """Give the modules values that `changed` gave of another supernet, or at another moment."""
        self._changed |= dict.fromkeys(values)
        put(self._supernet, values)

    def otherwise_changed(self) -> list[str]:
        """The attributes that are no plain values and have changed, as `blocks.0.1.schedule`."""
        now = other_digests(self._supernet)
        places = sorted(self._others.keys() | now.keys())
        # What is a plain value now was one of None before, say, and is known to be changed.
        plain = dict(plain_values(self._supernet))
        return [
            ".".join(filter(None, place))
            for place in places
            if place not in plain and self._others.get(place) != now.get(place)
        ]


def put(supernet: nn.Module, values: Values) -> None:
    """Give the modules of a supernet plain values.

    Lists and dictionaries are filled in place, since several modules may share one.

    Args:
        supernet: with the modules that the values are of.
        values: copied.
    """
    modules = dict(supernet.named_modules())
    for (module, name), value in values.items():
        held: dict[str, Any] = modules[module].__dict__
        own, given = held.get(name), copied(value)
        if isinstance(own, Tensor) and isinstance(given, Tensor):
            given = given.to(own.device)
        if type(own) is type(given) is list:
            own[:] = given
        elif type(own) is type(given) is dict:
            own.clear()
            own.update(given)
        else:
            held[name] = given


def require_places(supernet: nn.Module, values: Values) -> None:
    """Raise `KeyError` unless a supernet has the modules that values are of."""
    modules = dict(supernet.named_modules())
    for module, _ in values:
        modules[module]


def attributes_of(supernet: nn.Module) -> Iterator[tuple[Place, Any]]:
    """Every attribute of every module, but for those that PyTorch keeps itself."""
    for module_name, module in supernet.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in vars(module).items():
            if not is_own_table(name):
                yield (module_name, name), value


def plain_values(supernet: nn.Module) -> Iterator[tuple[Place, Any]]:
    """Copies of all attributes that are plain values."""
    for place, value in attributes_of(supernet):
        copy = copied(value)
        if copy is not NONE:
            yield place, copy


def other_digests(supernet: nn.Module) -> Attributes:
    """The digests of all attributes that are neither plain values nor caches of tensors."""
    digests = read_attributes(supernet).attributes  # type: ignore[arg-type]
    left_out = {
        place
        for place, value in attributes_of(supernet)
        if is_cache(value) or copied(value) is not NONE
    }
    return {
        (module, name): digest
        for (module, name), digest in digests.items()
        # What a module says of itself is no attribute; what it is read from is one.
        if (module, name) not in left_out and name != STATED
    }


def copied(value: Any, depth: int = 0) -> Any:
    """A copy of a plain value, with tensors on the CPU; `NONE` of any other."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is Tensor:
        usable = value.numel() <= LARGEST and value.layout == torch.strided and not value.is_meta
        return value.detach().cpu().clone() if usable else NONE
    if kind not in (list, tuple, dict) or depth == DEEPEST:
        return NONE
    if kind is dict:
        keys = all(type(key) in PLAIN for key in value)
        items = [copied(each, depth + 1) for each in value.values()] if keys else [NONE]
        return NONE if any(i is NONE for i in items) else dict(zip(value, items, strict=True))
    items = [copied(each, depth + 1) for each in value]
    return NONE if any(each is NONE for each in items) else items if kind is list else tuple(items)


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are the same: of one type, and as they are written."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return tensor_digest(a) == tensor_digest(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    # As texts, in which -0.0 is not 0.0, and one NaN is the other.
    return repr(a) == repr(b)
