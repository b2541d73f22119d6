"""Blocks that remember how often they have run, wherever they keep it, and those that may."""

from __future__ import annotations

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from checked_chains import Calling, chain, conv
from torch import Tensor, nn

from raynas.errors import InputError

LATE = 500
"""Runs after which a block gives something else."""

COUNT, FLAG = 0, False
TALLY = {"runs": 0}


class Keeping(nn.Module):
    """Gives something else once a function of its kept value says so."""

    def __init__(self, kept: Any, late: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kept, self.late = kept, late

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.late(self) else x + 1


def counted(kept: Any, count: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    return lambda: Keeping(kept, lambda module: count(module) >= LATE)


def in_a_table(module: Any) -> int:
    module.kept["runs"] += 1
    return module.kept["runs"]  # type: ignore[no-any-return]


def in_a_tensor(module: Any) -> float:
    module.kept = module.kept + 1
    return float(module.kept)


def in_place(module: Any) -> float:
    module.kept[0] += 1
    return float(module.kept[0])


def in_a_list(module: Any) -> int:
    module.kept.append(0)
    return len(module.kept)


def in_an_object(module: Any) -> int:
    module.kept.runs += 1
    return module.kept.runs  # type: ignore[no-any-return]


def left(module: Any) -> int:
    module.kept["left"] -= 1
    return -module.kept["left"]  # type: ignore[no-any-return]


def in_a_global(module: Any) -> int:
    global COUNT
    COUNT += 1
    return COUNT


def in_a_global_table(module: Any) -> int:
    TALLY["runs"] += 1
    return TALLY["runs"]


def every_other(module: Any) -> bool:
    global FLAG
    FLAG = not FLAG
    return FLAG


def in_the_function(module: Any) -> int:
    in_the_function.runs = getattr(in_the_function, "runs", 0) + 1  # type: ignore[attr-defined]
    return in_the_function.runs  # type: ignore[attr-defined,no-any-return]


def in_a_default(module: Any, kept: list[int] = [0]) -> int:  # noqa: B006
    kept[0] += 1
    return kept[0]


class OfClass(nn.Module):
    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).runs += 1
        return x + (self.runs >= LATE)


def hooked() -> nn.Module:
    runs = 0

    def late(_: nn.Module, given: Any, output: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        return output * 2 if runs >= LATE else output

    module = conv()
    module.register_forward_hook(late)
    return module


def generated() -> Iterator[int]:
    yield from range(10**9)


NUMBERS = generated()

REMEMBERING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a table": (counted({"runs": 0}, in_a_table), r"kept\['runs'\]"),
    "a tensor": (counted(torch.zeros(()), in_a_tensor), "kept"),
    "a tensor, in place": (counted(torch.zeros(1), in_place), "kept"),
    "every fortieth run": (
        lambda: Keeping({"runs": 0}, lambda m: in_a_table(m) % 40 == 0),
        r"kept\['runs'\]",
    ),
    "one of several": (
        lambda: Keeping({"runs": 0, "a": 0}, lambda m: both(m.kept) >= LATE),
        r"kept\['runs'\]",
    ),
    "an array": (counted(np.zeros(1), in_place), "kept"),
    "an array of integers": (counted(np.zeros(1, np.int64), in_place), "kept"),
    "a list": (counted([], in_a_list), r"kept \(its items\)"),
    "a deque": (counted(deque(), in_a_list), r"kept \(its items\)"),
    "a long list": (
        lambda: Keeping([0] * 5_000, lambda m: in_a_list(m) >= 5_000 + LATE),
        r"kept \(its items\)",
    ),
    "what is left of a list": (
        lambda: Keeping([0] * LATE, lambda m: not m.kept or m.kept.pop() is None),
        "an output that|kept",
    ),
    "an object": (counted(SimpleNamespace(runs=0), in_an_object), r"kept\.runs"),
    "an object in a list": (
        lambda: Keeping([SimpleNamespace(runs=0)], lambda m: late_in(m.kept[0])),
        r"kept\[0\]\.runs",
    ),
    "counted down": (counted({"left": 0}, left), "left"),
    "a count": (counted(itertools.count(), lambda m: next(m.kept)), "kept"),
    "a cycle": (
        lambda: Keeping(itertools.cycle([False] * LATE + [True]), lambda m: next(m.kept)),
        "kept",
    ),
    "an iterator": (counted(iter(range(10**9)), lambda m: next(m.kept)), "kept"),
    "a generator": (counted(None, lambda m: next(NUMBERS)), "NUMBERS of module test_call_memory"),
    "a global": (counted(None, in_a_global), "COUNT of module test_call_memory"),
    "a global table": (counted(None, in_a_global_table), r"TALLY of module .*\['runs'\]"),
    "a global that is true every other time": (
        lambda: Keeping(None, every_other),
        "an output that depends on the input alone",
    ),
    "a class": (OfClass, r"OfClass\.runs"),
    "a function": (counted(None, in_the_function), r"in_the_function\.runs"),
    "a default": (counted(None, in_a_default), r"a default of in_a_default\[0\]"),
    "a closure of a hook": (hooked, "runs of hooked"),
}


def both(kept: dict[str, int]) -> int:
    for name in kept:
        kept[name] += 1
    return kept["runs"]


def late_in(kept: Any) -> bool:
    kept.runs += 1
    return kept.runs >= LATE  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_block_that_remembers_its_calls_is_refused_by_where(name: str) -> None:
    make, place = REMEMBERING[name]
    with pytest.raises(InputError, match=rf"(?s)blocks\[1\]\[1\]: expected.*{place}"):
        chain([nn.Identity(), make()]).check()


class BySize(nn.Module):
    """Computes a table once for every size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        shape = tuple(x.shape[2:])
        if shape not in self.tables:
            self.tables[shape] = torch.arange(x[0, 0].numel()).view(shape).float()
        return x + self.tables[shape]


def unread(count: Callable[[Any], Any]) -> Callable[[Any], bool]:
    return lambda module: count(module) is None


@functools.cache
def cached(size: int) -> int:
    return size // 1000


def timed(module: Any) -> bool:
    module.kept.append(time.perf_counter())
    return False


def last_shape(module: Any) -> bool:
    module.kept = {"last": [None, (3, 4), "text"], "again": SimpleNamespace(a=1)}
    return False


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "tables by size": BySize,
    "a table that nothing reads": lambda: Keeping({"runs": 0}, unread(in_a_table)),
    "an array that nothing reads": lambda: Keeping(np.zeros(1), unread(in_place)),
    "a tensor that nothing reads": lambda: Keeping(torch.zeros(()), unread(in_a_tensor)),
    "a global that nothing reads": lambda: Keeping(None, unread(in_a_global)),
    "a count that nothing reads": lambda: Keeping(
        itertools.count(), unread(lambda m: next(m.kept))
    ),
    "a log": lambda: Keeping([], unread(in_a_list)),
    "a long log": lambda: Keeping([0] * 5_000, unread(in_a_list)),
    "a log in a deque": lambda: Keeping(deque(), unread(in_a_list)),
    "a cached function": lambda: Keeping(None, lambda m: cached(7)),
    "the times of the last runs": lambda: Keeping(deque([0.0] * 3, maxlen=3), timed),
    "something new of equal content": lambda: Keeping(None, last_shape),
    "an iterator that stays": lambda: Keeping(itertools.cycle([1, 2]), lambda m: False),
    "its last input": lambda: Keeping(None, lambda m: False),
    "a counter of training": lambda: Keeping(
        {"runs": 0}, lambda m: m.training and in_a_table(m) >= LATE
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_gives_the_same_after_any_number_of_calls_is_accepted(name: str) -> None:
    chain([nn.Identity(), ACCEPTED[name]()]).check()


def test_the_last_output_may_be_kept() -> None:
    def keeping(module: Any, x: Tensor) -> Tensor:
        module.last = x * 2
        return module.last + 0  # type: ignore[no-any-return]

    chain([nn.Identity(), Calling(keeping)]).check()


def test_counters_are_put_back_where_they_were() -> None:
    before = COUNT
    chain([nn.Identity(), ACCEPTED["a global that nothing reads"]()]).check()
    assert before < COUNT < before + 100


def test_a_log_of_the_users_own_stays_as_it_was() -> None:
    module = Keeping([], unread(in_a_list))
    chain([nn.Identity(), module]).check()
    assert module.kept == []
