"""What a pool of actors keeps account of: its actors, and the calls of one run."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raynas.workers.dispatch import Waiting
from raynas.workers.pool import Call


@dataclass(eq=False)
class Worker:
    """An actor and the calls it holds, oldest first."""

    actor: Any
    ready: Any
    attempt: int
    machine: dict[str, str] | None = None
    held: deque[int] = field(default_factory=deque)


@dataclass
class Job:
    """The calls of one run.

    Attributes:
        method: what is called.
        calls: the arguments of each.
        keep: whether the first part of a result stays in the store.
        waiting: the calls that no actor holds.
        running: the calls under way, by the reference of their result.
        deaths: how many actors have died while they held a call.
        suspects: the unfinished calls among those.
        results: of the calls that are done.
    """

    method: str
    calls: Sequence[Call]
    keep: bool
    waiting: Waiting
    running: dict[Any, tuple[int, Worker, Any]]
    deaths: list[int]
    suspects: set[int]
    results: list[Any]
