"""Modules on their own: what stands in an exported subnet for those that share with other choices.

A module that computes with something it does not own alone, such as a slice of a weight, says what
it is outside the supernet, in a method

    def raynas_plain(self) -> nn.Module

which gives a module that computes the same and shares nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from raynas.errors import InputError, describe_error, require
from raynas.supernets.chain_nodes import on_meta

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

TOLERANCE = 1e-2
"""The share of the largest output by which a module on its own may differ."""


def made_plain(module: nn.Module, name: str) -> nn.Module:
    """The module with every part that has a `raynas_plain` replaced by what that gives.

    What it gives is taken as it is: no parts of it are asked again, and hooks of the part are gone.

    Args:
        module: changed in place, unless it is replaced itself.
        name: of the module, for errors.

    Raises:
        InputError: a `raynas_plain` that raises, or gives no module, by name.
    """
    return _replaced(module, name, {}) if states_plain(module) else module


def make_plain(supernet: ChainSupernet) -> None:
    """Make every module of a chain plain, such as to measure it as it will be deployed.

    Args:
        supernet: a copy, which is changed.

    Raises:
        InputError: as `made_plain`.
    """
    supernet.stem = made_plain(supernet.stem, "stem")
    supernet.head = made_plain(supernet.head, "head")
    for block, choices in enumerate(supernet.blocks):
        assert isinstance(choices, nn.ModuleList)
        for choice, module in enumerate(choices):
            choices[choice] = made_plain(module, f"blocks[{block}][{choice}]")


def states_plain(module: nn.Module) -> bool:
    """Whether a module, or any part of it, has a `raynas_plain`."""
    return any(callable(getattr(part, "raynas_plain", None)) for part in module.modules())


def plain_nodes(subnet: nn.Sequential, x: Tensor) -> None:
    """Make the modules of a subnet plain, and see that they give the same outputs.

    Args:
        subnet: stem, choices and head, on the CPU and in evaluation mode; changed.
        x: examples to compare the outputs on.

    Raises:
        InputError: as `made_plain`, or an output that changes.
    """
    if not states_plain(subnet):
        return
    runs = not on_meta(subnet)
    for index, module in enumerate(subnet):
        name = {0: "stem", len(subnet) - 1: "head"}.get(index, f"blocks[{index - 1}]")
        output = module(x.clone()) if runs else x
        if states_plain(module):
            subnet[index] = made_plain(module, name).eval()
            if runs:
                require_same(subnet[index](x.clone()), output, name)
        x = output


def require_same(found: Tensor, expected: Tensor, name: str) -> None:
    """Raise `InputError` unless both outputs are the same, but for rounding."""
    got = f"an output {list(found.shape)} instead of {list(expected.shape)}"
    same = found.shape == expected.shape
    if same:
        allowed = TOLERANCE * float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
        same = torch.allclose(found, expected, rtol=0.0, atol=allowed, equal_nan=True)
        got = f"outputs that differ by up to {float((found - expected).abs().max()):.3g}"
    remedy = "Mend the method."
    require(same, name, "raynas_plain() to give modules that compute the same", got, remedy)


def _replaced(module: nn.Module, name: str, known: dict[int, nn.Module]) -> nn.Module:
    """The module or what stands for it; a part that has several parents is replaced once."""
    if id(module) in known:
        return known[id(module)]
    own = getattr(module, "raynas_plain", None)
    if callable(own):
        known[id(module)] = _stated(module, name)
        return known[id(module)]
    known[id(module)] = module
    for key, child in list(module._modules.items()):
        if child is not None:
            part = _replaced(child, f"{name}.{key}", known)
            if part is not child:
                module._modules[key] = part
    return module


def _stated(module: nn.Module, name: str) -> nn.Module:
    """The module that a `raynas_plain` gives."""
    try:
        plain = module.raynas_plain()  # type: ignore[operator]
    # Methods of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            name,
            "a method raynas_plain() that gives a module",
            describe_error(error),
            "Mend the method, or leave it out.",
        ) from error
    require(
        isinstance(plain, nn.Module),
        name,
        "a method raynas_plain() that gives a torch.nn.Module",
        type(plain).__name__,
        "Return a module that computes the same.",
    )
    assert isinstance(plain, nn.Module)
    return plain
