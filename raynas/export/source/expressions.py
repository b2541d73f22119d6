"""Values and calls as Python source, in lines of at most 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 100
"""The columns of a line."""

LARGEST = 64
"""The most elements of a tensor that is written by its values."""


PLAIN = (bool, int, float, np.float64, str, tuple, torch.Size, list, dict, OrderedDict)
"""The types of values that stand for nothing but their content."""


@final
class CannotBeWrittenError(Exception):
    """Something of a module that no source can stand for.

    Args:
        reason: in words that follow the name of the module's class.
        kind: the name of that class, as soon as it is known.
    """

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(f"{kind} {reason}".strip())
        self.reason = reason
        self.kind = kind

    def within(self, kind: str) -> CannotBeWrittenError:
        """The same of a module of a class, unless it is of another one inside it."""
        return self if self.kind else CannotBeWrittenError(self.reason, kind)


@final
@dataclass(frozen=True)
class Call:
    """A call: its function, and its arguments with their names; `""` where one has none.

    Args:
        function: as source.
        arguments: names and values, each as source or a call itself.
        tall: whether every argument has a line of its own.
        brackets: around the arguments.
    """

    function: str
    arguments: tuple[tuple[str, str | Call], ...] = ()
    tall: bool = False
    brackets: str = "()"


Expression = str | Call


def flat(expression: Expression) -> str:
    """An expression in one line."""
    if isinstance(expression, str):
        return expression
    listed = [f"{name}={flat(value)}" if name else flat(value)
              for name, value in expression.arguments]  # fmt: skip
    opening, closing = tuple(expression.brackets)
    return f"{expression.function}{opening}{', '.join(listed)}{closing}"


def is_tall(expression: Expression) -> bool:
    """Whether an expression is to have several lines, however short it is."""
    if isinstance(expression, str):
        return False
    return expression.tall or any(is_tall(value) for _, value in expression.arguments)


def lines_of(expression: Expression, before: str, after: str, indent: int) -> list[str]:
    """An expression in as many lines as it needs.

    Args:
        expression: to be written.
        before: written ahead of it in its first line, such as `return `.
        after: written behind it, such as a comma.
        indent: the spaces ahead of all lines.
    """
    margin = " " * indent
    line = f"{margin}{before}{flat(expression)}{after}"
    if isinstance(expression, str) or not (is_tall(expression) or len(line) > WIDTH):
        return [line]
    opening, closing = tuple(expression.brackets)
    lines = [f"{margin}{before}{expression.function}{opening}"]
    for name, value in expression.arguments:
        lines += lines_of(value, f"{name}=" if name else "", ",", indent + 4)
    return [*lines, f"{margin}{closing}{after}"]


def written(value: Any) -> str:
    """A value as source.

    Raises:
        CannotBeWrittenError: another value than a number, a text, `None`, a type or a function of
            torch, a small tensor, or a list, tuple or dict of such.
    """
    if type(value) not in PLAIN and isinstance(value, int | float | str | tuple | list | dict):
        # What else such a value can do is not known, such as the defaults of a dict.
        raise CannotBeWrittenError(f"holds a {type(value).__name__}")
    if value is None or isinstance(value, bool | str | torch.dtype):
        return repr(value)
    if isinstance(value, int | np.integer):
        return repr(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value)) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, tuple | list):
        inside = ", ".join(map(written, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(k)}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Tensor):
        return written_tensor(value)
    for prefix, module in (("torch", torch), ("torch.nn.functional", F)):
        name = getattr(value, "__name__", "")
        if callable(value) and name and getattr(module, name, None) is value:
            return f"{prefix}.{name}"
    raise CannotBeWrittenError(f"holds a {type(value).__name__}")


def written_tensor(tensor: Tensor) -> str:
    """A small tensor as source that gives the same bits.

    Raises:
        CannotBeWrittenError: a larger one.
    """
    if tensor.numel() > LARGEST or tensor.dtype in (torch.bfloat16, torch.complex64):
        raise CannotBeWrittenError(
            f"holds a tensor {list(tensor.shape)} of {tensor.dtype} beside its state dict"
        )
    if tensor.dim() > 1 and not tensor.numel():
        return f"torch.zeros({', '.join(map(str, tensor.shape))}, dtype={tensor.dtype})"
    values = nested(tensor.detach().cpu().numpy())
    kept = (torch.float32, torch.int64, torch.bool)
    kind = "" if tensor.dtype in kept and tensor.numel() else f", dtype={tensor.dtype}"
    return f"torch.tensor({values}{kind})"


def nested(values: np.ndarray) -> str:
    """An array as nested lists of the shortest numbers that round to its elements."""
    if values.ndim:
        return f"[{', '.join(map(nested, values))}]"
    text = str(values)
    return text if text.strip("-").lower() not in ("inf", "nan") else f'float("{text}")'


def docstring(text: str, indent: int) -> list[str]:
    """A text as the lines of a docstring."""
    margin = " " * indent
    safe = text.replace("\\", "\\\\").replace('"', "'")
    lines = textwrap.wrap(safe, WIDTH - indent - 6) or [""]
    if len(lines) == 1:
        return [f'{margin}"""{lines[0]}"""']
    return [f'{margin}"""{lines[0]}', *(margin + line for line in lines[1:]), f'{margin}"""']
