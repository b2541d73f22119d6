"""Opening a pool: in this process, or on Ray, which is imported only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from raynas.errors import require
from raynas.evaluation.settings import Evaluation
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task
from raynas.workers.pool import LocalPool, Pool


def require_workers(workers: int | None) -> None:
    """Raise `InputError` unless it is `None` or a number of workers."""
    require(
        workers is None or workers >= 0,
        "workers",
        "0 (this process), a number of Ray actors, or None (as many as fit)",
        workers,
        "Use 0 for debugging, None for all cores or GPUs.",
    )


def check_workers(settings: Evaluation, workers: int | None) -> None:
    """See that the cluster can hold the workers, without starting any.

    Raises:
        InputError: more workers than the cluster has resources for.
    """
    require_workers(workers)
    if workers == 0:
        return
    from raynas.workers.ray_cluster import connected, node_resources, resolve_workers

    with connected():
        resolve_workers(workers, settings, node_resources())


@contextmanager
def open_pool(
    supernet: ChainSupernet, settings: Evaluation, workers: int | None, task: Task | None = None
) -> Iterator[Pool]:
    """A pool for the time of the context.

    Args:
        supernet: what the workers evaluate.
        settings: the evaluation protocol.
        workers: 0 evaluates in this process, without Ray; `None` takes one worker per GPU of the
            cluster, or per core where it has none.

    Raises:
        InputError: more workers than the cluster has resources for.
    """
    require_workers(workers)
    if workers == 0:
        yield LocalPool(supernet, settings, task)
        return
    from raynas.workers.ray_cluster import connected
    from raynas.workers.ray_pool import RayPool

    with connected():
        pool = RayPool(supernet, settings, workers)
        try:
            yield pool
        finally:
            pool.close()
