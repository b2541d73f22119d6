"""Which waiting call a free worker takes next: one whose shard it has had before.

A worker that gets the shards it had in the last generation need not fetch them again, nor copy them
to its device. But no worker waits for another: when its own shards are done, it takes others'.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from heapq import heapify, heappop, heappush

Home = Hashable
"""What says that two calls read the same shard."""

MEMORY = 4096
"""How many shards of a worker are remembered: those of freed prefixes never come back."""


class Residence:
    """Which worker has had which shards lately."""

    def __init__(self) -> None:
        self._shards: dict[Hashable, dict[Home, None]] = {}

    def settle(self, worker: Hashable, home: Home) -> None:
        """Note that a worker gets a shard."""
        shards = self._shards.setdefault(worker, {})
        shards.pop(home, None)
        shards[home] = None
        if len(shards) > MEMORY:
            del shards[next(iter(shards))]

    def forget(self, worker: Hashable) -> None:
        """A worker has gone, with all it had."""
        self._shards.pop(worker, None)

    def of(self, worker: Hashable) -> Iterable[Home]:
        """The shards that a worker has had."""
        return self._shards.get(worker, {})

    def all(self) -> set[Home]:
        """The shards that any worker has had."""
        return {home for shards in self._shards.values() for home in shards}


class Waiting:
    """The calls of one run that no worker holds.

    Args:
        homes: of each call; `None` for a call that reads no shard of the store.
        residence: who has had which shard before; follows what is taken.
    """

    def __init__(self, homes: Sequence[Home | None], residence: Residence) -> None:
        self._homes = homes
        self._residence = residence
        self._queues: dict[Home | None, list[int]] = {}
        for index, home in enumerate(homes):
            self._queues.setdefault(home, []).append(index)
        known = residence.all()
        self._fresh = [queue[0] for home, queue in self._queues.items() if home not in known]
        self._count = len(homes)
        heapify(self._fresh)

    def __len__(self) -> int:
        return self._count

    def take(self, worker: Hashable) -> int:
        """The call that a free worker is to run: an index into the homes.

        The first of those whose shard it has had; else of those whose shard nobody has had; else
        the first of the shard for which most calls wait, since who has that is furthest behind.
        """
        home = self._choose(worker)
        queue = self._queues[home]
        index = heappop(queue)
        if not queue:
            del self._queues[home]
        if home is None and queue:
            heappush(self._fresh, queue[0])
        if home is not None:
            self._residence.settle(worker, home)
        self._count -= 1
        return index

    def give_back(self, index: int) -> None:
        """A call that was taken has to wait again; it keeps its place among the others."""
        heappush(self._queues.setdefault(self._homes[index], []), index)
        self._count += 1

    def _choose(self, worker: Hashable) -> Home | None:
        own = [home for home in self._residence.of(worker) if home in self._queues]
        if own:
            return min(own, key=lambda home: self._queues[home][0])
        if self._fresh:
            return self._homes[heappop(self._fresh)]
        return min(self._queues, key=lambda home: (-len(self._queues[home]), self._queues[home][0]))
