"""The memory layouts that the modules of a supernet run in.

Depthwise convolutions run fastest with channels last, and every module of torch takes either
layout. A user's own module may not: `x.view(n, -1)` raises, and code that reads strides computes
something else. Such modules get inputs and weights as plain PyTorch would give them.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from raynas.supernets.chain import ChainSupernet, NodeKind
from raynas.supernets.known_code import is_known_function

KNOWN = ("torch.", "torchvision.", "raynas.")
"""Packages whose modules give the same in either layout."""

SAMPLES = 2
"""The size of the batch on which an unknown module is tried."""


def choose_layouts(supernet: ChainSupernet, device: torch.device) -> frozenset[NodeKind]:
    """Put weights into the layout that their modules run in.

    Args:
        supernet: in evaluation mode, on the device; changed in place.
        device: that it is on.

    Returns:
        The modules that take their input contiguous; all others take channels last.
    """
    # Every module of a user is tried in both layouts, since nothing else tells whether its code
    # reads strides. What it shares with others stays plain, too: weights have one layout only.
    kinds = modules_of(supernet)
    own = own_layouts(supernet, device)
    kept = {id(part) for kind in own for part in kinds[kind].modules()}
    for module in supernet.modules():
        if id(module) not in kept and not any(id(part) in kept for part in module.modules()):
            set_layout(module, torch.channels_last)
    return own


def own_layouts(supernet: ChainSupernet, device: torch.device) -> frozenset[NodeKind]:
    """Find the modules that do not compute the same with channels last; changes nothing.

    Args:
        supernet: in evaluation mode, on the device.
        device: that it is on.
    """
    kinds = modules_of(supernet)
    unknown = {kind for kind, module in kinds.items() if not is_known(module)}
    if not unknown:
        return frozenset()
    own: set[NodeKind] = set()
    gpus = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=gpus):
        x = torch.tensor(supernet.inputs.examples(SAMPLES)).to(device)
        for depth in range(max(depth for depth, _ in unknown) + 1):
            here = [kind for kind in kinds if kind[0] == depth]
            for kind in [kind for kind in here if kind in unknown]:
                # Modules that change their input are found elsewhere, and change copies here.
                expected = kinds[kind](x.clone())
                if not takes_channels_last(kinds[kind], x, expected):
                    own.add(kind)
            x = kinds[here[0]](x.clone()).contiguous()
    return frozenset(own)


def takes_channels_last(module: nn.Module, x: Tensor, expected: Tensor) -> bool:
    """Whether a module computes the same with channels last, in its input and its weights."""
    if x.dim() != 4 and not any(weight.dim() == 4 for weight in module.parameters()):
        return True
    try:
        set_layout(module, torch.channels_last)
        layout = torch.channels_last if x.dim() == 4 else torch.contiguous_format
        given = x.clone(memory_format=layout)
        # Torch.fx prints the code of what fails.
        with redirect_stderr(io.StringIO()):
            found = module(given)
        same = found.shape == expected.shape and torch.allclose(
            found, expected, rtol=1e-3, atol=1e-4, equal_nan=True
        )
    # Whatever it raises, plain PyTorch's layout does not.
    except Exception:
        same = False
    finally:
        set_layout(module, torch.contiguous_format)
    return bool(same)


def set_layout(module: nn.Module, layout: torch.memory_format) -> None:
    """Lay out the 4-D parameters and buffers of a module; those of other dimensions stay.

    `Module.to(memory_format=…)` takes the 5-D ones of 3-D convolutions, too, and raises.
    """
    module._apply(lambda x: x.to(memory_format=layout) if x.dim() == 4 else x)


def is_known(module: nn.Module) -> bool:
    """Whether all that a module runs comes with torch, torchvision or this library, as it is."""
    return all(runs_known_code(part) for part in module.modules())


def runs_known_code(part: nn.Module) -> bool:
    """Whether what a module runs, its submodules left aside, is code of such a package alone."""
    # Scripted and traced modules are of torch's classes, whatever code they were made from.
    if isinstance(part, torch.jit.ScriptModule) or not comes_with_torch(type(part)):
        return False
    if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
        return False
    # So are those of torch.fx, whose class has a forward of its own, and classes may be patched.
    held = [type(part).forward, *vars(part).values()]
    return all(comes_with_torch(value) for value in held if callable(value))


def comes_with_torch(value: Any) -> bool:
    """Whether a class, a function or an object that can be called is of a known package."""
    if isinstance(value, FunctionType):
        # One that `functools.wraps` made like torch's has the name of its module.
        return is_known_function(value)
    module = getattr(value, "__module__", None)
    return isinstance(value, BuiltinFunctionType) or (
        isinstance(module, str) and f"{module}.".startswith(KNOWN)
    )


def modules_of(supernet: ChainSupernet) -> dict[NodeKind, nn.Module]:
    """The module of every kind of node, from the stem to the head."""
    modules: dict[NodeKind, nn.Module] = {(0, 0): supernet.stem}
    for depth, count in enumerate(supernet.space.choices, 1):
        path = (0,) * (depth - 1)
        modules |= {(depth, c): supernet.node((*path, c)) for c in range(count)}
    return modules | {(supernet.space.blocks + 1, 0): supernet.head}
