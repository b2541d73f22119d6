"""A pool that evaluates a supernet while it is trained."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar, final

from raynas.evaluation.weights import Weights
from raynas.metering.sampler import Snapshot
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.plain_state import Values
from raynas.workers.calls import Call, Under
from raynas.workers.pool import Pool, PoolSettings

T = TypeVar("T")


@final
class TrainingPool:
    """Another pool, every call of which runs with the weights that were given last.

    The weights travel with the calls, as one value in the store, so that results depend neither on
    the worker nor on earlier calls, whatever workers die or join. Nobody else may use the pool.

    Args:
        pool: opened for the supernet, whatever its weights were.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._weights: Weights | None = None

    def take(self, supernet: ChainSupernet, attributes: Values | None = None) -> None:
        """Evaluate with the present weights of the supernet from now on.

        Args:
            supernet: of which the pool has replicas.
            attributes: of its modules, plain values that have changed since the pool was opened.
        """
        self._weights = self._pool.put(Weights.of(supernet, uuid.uuid4().hex, attributes))

    @property
    def settings(self) -> PoolSettings:
        """The settings of the pool; its supernet has no digest, since it changes."""
        mine = self._pool.settings
        return PoolSettings(mine.evaluation, mine.task)

    @property
    def workers(self) -> int:
        """See `Pool.workers`."""
        return self._pool.workers

    @property
    def gpus(self) -> int:
        """See `Pool.gpus`."""
        return self._pool.gpus

    @property
    def device(self) -> str:
        """See `Pool.device`."""
        return self._pool.device

    @property
    def machine(self) -> dict[str, str]:
        """See `Pool.machine`."""
        return self._pool.machine

    @property
    def busy(self) -> dict[str, float]:
        """See `Pool.busy`."""
        return self._pool.busy

    def read_meters(self) -> list[Snapshot]:
        """See `Pool.read_meters`."""
        return self._pool.read_meters()

    def wait(self) -> None:
        """See `Pool.wait`."""
        self._pool.wait()

    def put(self, value: T) -> T:
        """See `Pool.put`."""
        return self._pool.put(value)

    def run(
        self,
        calls: Sequence[Call[T]],
        *,
        keep: bool = False,
        finished: Callable[[int], None] | None = None,
    ) -> list[T]:
        """Run calls with the weights that were given last; with those of the pool before."""
        if self._weights is None:
            return self._pool.run(calls, keep=keep, finished=finished)
        wrapped = [Under(self._weights, call) for call in calls]
        return self._pool.run(wrapped, keep=keep, finished=finished)

    def close(self) -> None:
        """See `Pool.close`."""
        self._pool.close()
