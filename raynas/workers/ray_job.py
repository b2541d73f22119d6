"""The calls of one run of a pool on Ray: which wait, which are under way, and what is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from raynas.workers.calls import Call
from raynas.workers.ray_workers import Worker


@final
@dataclass
class Job:
    """The calls of one run.

    Attributes:
        calls: all of them.
        keep: whether the first part of a result stays in the store.
        finished: is told how many are done.
        waiting: a heap of the calls that no actor holds: the first comes first, so that one that
            has to run again does not wait for the others.
        running: the calls under way, by the reference of their result.
        deaths: how many actors have died while they held a call.
        suspects: the unfinished calls among those.
        results: of the calls that are done.
    """

    calls: Sequence[Call[Any]]
    keep: bool
    finished: Callable[[int], None] | None = None
    waiting: list[int] = field(init=False)
    running: dict[Any, tuple[int, Worker, Any]] = field(init=False, default_factory=dict)
    deaths: list[int] = field(init=False)
    suspects: set[int] = field(init=False, default_factory=set)
    results: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.calls)
        self.waiting = list(range(count))
        self.deaths, self.results = [0] * count, [None] * count

    @property
    def open(self) -> int:
        """The number of calls that are not done."""
        return len(self.waiting) + len(self.running)

    def tell(self) -> None:
        """Tell how many calls are done."""
        if self.finished is not None:
            self.finished(len(self.calls) - self.open)
