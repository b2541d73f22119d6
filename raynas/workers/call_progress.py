"""Progress of the calls of one operation: how many of those that were planned are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from raynas.workers.calls import Call
from raynas.workers.pool import Pool

T = TypeVar("T")


@final
@dataclass(frozen=True)
class CallProgress:
    """The state of the calls of one operation.

    Args:
        operation: the name of the calls, such as `"score"`; see `calls`.
        done: how many of them are.
        planned: how many there are.
    """

    operation: str
    done: int
    planned: int


CallObserver = Callable[[CallProgress], None]
"""Receives the state of an operation before its first call and after each that is done."""


def run_calls(
    pool: Pool, calls: Sequence[Call[T]], observer: CallObserver | None, *, keep: bool = False
) -> list[T]:
    """Run calls of one operation on a pool, and tell an observer how far they are.

    Args:
        pool, calls, keep: as those of `Pool.run`.
        observer: is told; without one, or without calls, the pool is not asked to tell.
    """
    if observer is None or not calls:
        return pool.run(calls, keep=keep)
    operation, planned = calls[0].operation, len(calls)

    def tell(done: int) -> None:
        observer(CallProgress(operation, done, planned))

    tell(0)
    return pool.run(calls, keep=keep, finished=tell)
