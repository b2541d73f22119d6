"""Seeing that what a module gives does not depend on how often it has run."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.errors import InputError, require
from raynas.supernets.chain_nodes import ChainNode
from raynas.supernets.kept_values import Kept, holds_code, kept_values
from raynas.supernets.node_runs import run_node, same_bits

FAR = (10**3, 10**6)
"""Calls after which a module that counts them must still give the same."""

LONGEST = 10**4
"""Items that are put into a list at most, for such a number of calls."""

NEAR = range(2, 66)
"""More such counts, for modules that do something else at every tenth call, say."""


def counts(module: nn.Module) -> dict[tuple[str, str], float]:
    """Every attribute that is a number, by the names of its module and its own."""
    return {
        (name, attribute): value
        for name, part in module.named_modules()
        for attribute, value in vars(part).items()
        if type(value) in (int, float)
    }


def require_no_counting(
    node: ChainNode, before: dict[tuple[str, str], float], x: Tensor, first: Tensor
) -> None:
    """Raise `InputError` if the output depends on a number that grows while a module runs.

    Args:
        node: that has run.
        before: its numbers until then, as `counts` gives them.
        x: its input.
        first: its output on it.
    """
    modules = dict(node.module.named_modules())
    for (name, attribute), number in counts(node.module).items():
        if before.get((name, attribute), number) == number:
            continue
        for many in FAR:
            setattr(modules[name], attribute, type(number)(number + many))
            same = same_bits(run_node(node, x.clone()), first)
            setattr(modules[name], attribute, number)
            require_same(same, node, f"its attribute {attribute}")


def require_no_call_memory(node: ChainNode, x: Tensor, first: Tensor) -> None:
    """Raise `InputError` if a module remembers its calls, wherever it does so.

    Looked at is what changes when a module runs once more on an input that it has just run on:
    what it computes once per size of its input stays. Numbers and lists may change, as logs do, if
    the output does not depend on them; it is tried with others. Anything else may not.

    Args:
        node: that has run on `x`; of plain modules of torch or this library nothing is looked at.
        x: its input.
        first: its output on it.
    """
    if not holds_code(node.module):
        return
    run_node(node, x.clone())
    before = kept_values(node.module)
    run_node(node, x.clone())
    numbers: dict[str, Kept] = {}
    for name, kept in kept_values(node.module).items():
        if name not in before or before[name].content == kept.content:
            continue
        if kept.put is None or kept.value is None:
            raise InputError(
                node.name,
                "a module that keeps nothing of its calls",
                f"one that changes {name} at every call",
                "Change it in training mode only (self.training), or leave it out: a search runs "
                "blocks in any order and number.",
            )
        numbers[name] = kept
    for many in (*FAR, *(-far for far in FAR), *NEAR) if numbers else ():
        if not same_after(node, numbers, many, x, first):
            alone = (n for n, k in numbers.items() if not same_after(node, {n: k}, many, x, first))
            name = next(alone, ", ".join(numbers))
            require_same(False, node, f"{name}, which changes at every call")


def same_after(
    node: ChainNode, numbers: Mapping[str, Kept], many: int, x: Tensor, first: Tensor
) -> bool:
    """Whether a module gives the same with other numbers, which are put back.

    Args:
        node: to be run.
        numbers: that it keeps.
        many: is added to each.
        x: its input.
        first: its output on it.
    """
    for kept in numbers.values():
        assert kept.put is not None
        kept.put(moved(kept.value, many))
    try:
        return same_bits(run_node(node, x.clone()), first)
    # It cannot run after so many calls.
    except InputError:
        return False
    finally:
        for kept in numbers.values():
            assert kept.put is not None
            kept.put(kept.value)


def moved(value: Any, many: int) -> Any:
    """The value of a counter as it would be after more calls; `value` stays as it is."""
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, list):
        # As long as it would be, or empty.
        return value + value[-1:] * min(many, LONGEST) if many > 0 else []
    if isinstance(value, itertools.count):
        # By its text, since later versions of Python do not pickle it.
        start, *step = np.atleast_1d(ast.literal_eval(repr(value).removeprefix("count")))
        return itertools.count(start.item() + many, *(each.item() for each in step))
    if isinstance(value, Tensor):
        return ~value if value.dtype == torch.bool else (value + many).to(value.dtype)
    if isinstance(value, np.ndarray):
        return ~value if value.dtype == bool else (value + many).astype(value.dtype)
    return type(value)(value + many)


def require_same(same: bool, node: ChainNode, counter: str) -> None:
    """Raise `InputError` unless an output was the same with another count of calls."""
    require(
        same,
        node.name,
        "an output that does not depend on how often the module has run",
        f"one that depends on {counter}",
        "Count in training mode only (self.training).",
    )
