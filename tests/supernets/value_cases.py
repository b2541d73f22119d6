"""Values that differ in one number, however they hold it.

`python value_cases.py` prints their digests.
"""

from __future__ import annotations

import array
import collections
import contextlib
import datetime
import functools
import operator
import types
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raynas.supernets.value_digest import value_identity


def scaled(x: Any, by: float = 1.0) -> Any:
    return x * by


def closed_over(held: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return held(x)

    return call


class Scale:
    """A callable object that takes the attributes of a function."""

    def __init__(self, by: float) -> None:
        functools.update_wrapper(self, scaled)
        self.by = by

    def __call__(self, x: Any) -> Any:
        return x * self.by


class Private:
    __slots__ = ("__by",)

    def __init__(self, by: float) -> None:
        self.__by = by


def with_attribute(by: float) -> Callable[[Any], Any]:
    def inner(x: Any) -> Any:
        return x

    return closed_over(with_attribute_of(inner, by))


def with_attribute_of(value: Any, by: float) -> Any:
    value.by = by
    return value


class Hidden(Decimal):
    """A user's class that holds its value in C."""


class Marked(Tensor):
    """A tensor with an attribute."""


def marked(by: float) -> Tensor:
    tensor = torch.ones(2).as_subclass(Marked)
    tensor.by = by  # type: ignore[attr-defined]
    return tensor


def with_method(by: float) -> Any:
    class Part:
        def base(self, x: Any, by: float) -> Any:
            return x * by

        call = functools.partialmethod(base, by=by)

    return Part()


def made_inside(by: float) -> Callable[[Any], Any]:
    class Metric:
        def __init__(self) -> None:
            self.by = by

    def call(x: Any) -> Any:
        return x * Metric().by

    return call


def enumerated(by: float) -> Any:
    class Kind(Enum):
        ONE = 1

        def times(self, x: Any) -> Any:
            return x * by

    return Kind.ONE


def wrapping(by: float) -> Callable[[Any, Any], Any]:
    @functools.wraps(functional.l1_loss)
    def loss(x: Any, y: Any) -> Any:
        return x * by

    return loss


def without_gradient(by: float) -> Callable[[Any], Any]:
    @torch.no_grad()
    def call(x: Any) -> Any:
        return x * by

    return call


def managed(by: float) -> Any:
    @contextlib.contextmanager
    def manage() -> Iterator[float]:
        yield by

    return manage


def dispatched(by: float) -> Any:
    @functools.singledispatch
    def call(x: Any) -> Any:
        return x

    call.register(int, lambda x: x * by)
    return call


def module(by: float) -> types.ModuleType:
    found = types.ModuleType("someones_library")
    exec(f"def scale(x):\n    return x * {by}", found.__dict__)
    return found


def using_a_module(by: float) -> Callable[[Any], Any]:
    library = module(by)

    def call(x: Any) -> Any:
        return library.scale(x)

    return call


class Library:
    """An object whose methods look into a module that it holds."""

    def __init__(self, by: float) -> None:
        self.held = [module(by)]

    def __call__(self, x: Any) -> Any:
        return self.held[0].scale(x)


def rows(by: float) -> list[tuple[int, float]]:
    return [*((i, 1.0) for i in range(150_000)), (0, by)]


def doubled(x: Tensor) -> Tensor:
    return x * 2.0


def tripled(x: Tensor) -> Tensor:
    return x * 3.0


def calling_one(x: Tensor) -> Tensor:
    return doubled(x)


def calling_the_other(x: Tensor) -> Tensor:
    return tripled(x)


def scripted(by: float) -> Any:
    """A function of TorchScript that differs in one that it calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(calling_one if by == 1 else calling_the_other)


CASES: dict[str, Callable[[float], Any]] = {
    "number": lambda by: by,
    "method of tensors": lambda by: torch.Tensor.abs if by == 1 else torch.Tensor.square,
    "its partial": lambda by: functools.partial(torch.Tensor.abs if by == 1 else torch.Tensor.sin),
    "function of torch": lambda by: torch.abs if by == 1 else torch.square,
    "operator of torch": lambda by: torch.ops.aten.relu if by == 1 else torch.ops.aten.tanh,
    "ufunc": lambda by: np.abs if by == 1 else np.square,
    "function of numpy": lambda by: np.mean if by == 1 else np.median,
    "bound get": lambda by: {"a": by}.get,
    "bound method of a tensor": lambda by: torch.full((2,), by).mul,
    "bound operator": lambda by: by.__mul__,
    "itemgetter": lambda by: operator.itemgetter(int(by)),
    "attrgetter": lambda by: operator.attrgetter(f"a{by}"),
    "methodcaller": lambda by: operator.methodcaller("mul", by),
    "reduction": lambda by: functools.partial(
        functools.reduce, operator.add if by == 1 else operator.mul
    ),
    "fraction": lambda by: Fraction(by),
    "decimal": lambda by: Decimal(by),
    "subclass of it": lambda by: Hidden(by),
    "array": lambda by: array.array("f", [by]),
    "bytearray": lambda by: bytearray([int(by)]),
    "memoryview": lambda by: memoryview(bytes([int(by)])),
    "timedelta": lambda by: datetime.timedelta(by),
    "default": lambda by: collections.defaultdict(functools.partial(scaled, by)),
    "longest": lambda by: collections.deque([1], int(by)),
    "counter": lambda by: collections.Counter({"a": int(by)}),
    "chain of tables": lambda by: collections.ChainMap({"a": by}, {}),
    "vectorized": lambda by: np.vectorize(functools.partial(scaled, by=by)),
    "polynomial": lambda by: np.poly1d([1.0, by]),
    "objects": lambda by: np.array([by, "text"], dtype=object),
    "mask": lambda by: np.ma.masked_array([1.0, 2.0], mask=[by == 1, False]),
    "distribution": lambda by: torch.distributions.Normal(0.0, by).log_prob,
    "loss": lambda by: torch.nn.HuberLoss(delta=by),
    "attribute of a tensor": marked,
    "storage": lambda by: torch.tensor([by]).untyped_storage(),
    "iterator": lambda by: iter([by]),
    "private slot": Private,
    "attribute of a function": with_attribute,
    "attribute of a parameter": lambda by: with_attribute_of(torch.nn.Parameter(torch.ones(1)), by),
    "callable object": Scale,
    "partial method": with_method,
    "constructor": made_inside,
    "method of an enum": enumerated,
    "wraps": wrapping,
    "no_grad": without_gradient,
    "context manager": managed,
    "single dispatch": dispatched,
    "cached": lambda by: functools.cache(functools.partial(scaled, by=by)),
    "module in a closure": using_a_module,
    "module in an object": Library,
    "script": scripted,
    "rows": rows,
}
"""Values for 1 and for 2."""


def digests() -> dict[str, str]:
    return {name: value_identity(make(1.0)).digest for name, make in CASES.items()}


if __name__ == "__main__":
    print(digests())
