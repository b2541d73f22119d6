"""Layers of torch as the calls that make them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from raynas.export.source.expressions import (
    Call,
    CannotBeWrittenError,
    Expression,
    flat,
    written,
)
from raynas.supernets.known_code import is_as_it_came, is_known

GEOMETRY = frozenset(("kernel_size", "stride", "padding", "dilation", "output_padding"))
"""Arguments that layers keep as one number for each axis, and take as one for all."""

CONTAINERS = ("Module", "Sequential", "ModuleList", "ModuleDict")
"""Classes of torch whose modules are written one by one."""


def is_layer(module: nn.Module) -> bool:
    """Whether a module is of a class of torch itself, and no list of other modules."""
    kind = type(module)
    there = getattr(nn, kind.__name__, None) is kind and is_known(kind)
    return there and kind.__name__ not in CONTAINERS


def layer_call(layer: nn.Module) -> Expression:
    """The call that makes such a layer, with what differs from its defaults.

    Raises:
        CannotBeWrittenError: a layer that does not keep what it was made with.
    """
    kind = type(layer)
    if not is_as_it_came(kind):
        raise CannotBeWrittenError("has code that was put into it")
    arguments: list[tuple[str, str]] = []
    # What an identity, or a layer without options, is given says nothing.
    bare = kind is nn.Identity or kind.__init__ is nn.Module.__init__
    parameters = [] if bare else list(inspect.signature(kind.__init__).parameters.values())[1:]
    named = False
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise CannotBeWrittenError("does not keep what it was made with")
        if each.name in ("device", "dtype"):
            continue
        if each.name == "bias" and not getattr(layer, "affine", True):
            # Says nothing then, and earlier versions of torch do not know it.
            continue
        required = each.default is inspect.Parameter.empty
        value = kept_argument(layer, each.name, each.default)
        if not required and same(value, each.default):
            named = True
            continue
        named = named or not required
        arguments.append((each.name if named else "", written(value)))
    kinds = {tensor.dtype for tensor in layer.parameters() if tensor.is_floating_point()}
    if kinds - {torch.float32}:
        arguments.append(("dtype", written(kinds.pop())))
    call = Call(f"nn.{kind.__name__}", tuple(arguments))
    return frozen_call(call, layer.parameters())


def frozen_call(call: Call, parameters: Iterable[Tensor]) -> Call:
    """A call that makes a layer, and one of a layer whose parameters are not trained."""
    trained = [parameter.requires_grad for parameter in parameters]
    if not trained or any(trained):
        return call
    return Call(f"{flat(call)}.requires_grad_", (("", "False"),))


def kept_argument(layer: nn.Module, name: str, default: Any) -> Any:
    """The argument that a layer was made with, from what it keeps.

    Raises:
        CannotBeWrittenError: it keeps nothing, and there is no default.
    """
    if not hasattr(layer, name):
        if default is inspect.Parameter.empty:
            raise CannotBeWrittenError(f"does not keep the {name} that it was made with")
        return default
    value = getattr(layer, name)
    if name == "bias" and (value is None or isinstance(value, Tensor)):
        return value is not None
    if name in GEOMETRY and isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    return value


def same(value: Any, default: Any) -> bool:
    """Whether an argument need not be written."""
    return type(value) is type(default) and bool(value == default)
