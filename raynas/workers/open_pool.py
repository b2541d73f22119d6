"""Opening a pool: in this process, or on Ray, which is imported only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from raynas.errors import is_whole, require, require_flags, require_kind
from raynas.evaluation.settings import Evaluation, protocol_for
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task, classification_or
from raynas.workers.pool import LocalPool, Pool


def require_workers(workers: int | None) -> None:
    """Raise `InputError` unless it is `None` or a number of workers."""
    require(
        workers is None or (is_whole(workers) and workers >= 0),
        "workers",
        "0 (this process), a number of Ray actors, or None (as many as fit)",
        repr(workers),
        "Use 0 for debugging, None for all cores or GPUs.",
    )


def require_dashboard(dashboard: bool, workers: int | None, pool: Pool | None = None) -> None:
    """Raise `InputError` where Ray's dashboard is wanted, and Ray is not joined for it."""
    require_flags(dashboard=dashboard)
    require(
        not dashboard or (workers != 0 and pool is None),
        "dashboard",
        "workers on Ray that are started for it",
        "workers=0 (this process)" if pool is None else "a pool that is open",
        "Leave one of them out, or open the pool with dashboard=True.",
    )


def check_workers(
    evaluation: Evaluation,
    workers: int | None,
    supernet: ChainSupernet | None = None,
    task: Task | None = None,
) -> None:
    """See that the cluster can hold the workers, and that these can be sent, without starting any.

    Args:
        evaluation: the protocol.
        workers: as those of `open_pool`.
        supernet: is packed for the workers, or copied for this process; not looked at if omitted.
        task: likewise.

    Raises:
        InputError: as `open_pool` would, but for modules that only workers lack.
    """
    require_workers(workers)
    if workers == 0:
        from raynas.workers.replicas import private_copy

        if supernet is not None:
            private_copy(supernet)
        return
    from raynas.workers.ray_cluster import connected, node_resources, resolve_workers
    from raynas.workers.replicas import pack, pack_task

    if supernet is not None:
        pack(supernet)
    if task is not None:
        pack_task(task)
    with connected():
        resolve_workers(workers, evaluation, node_resources())


@contextmanager
def open_pool(
    supernet: ChainSupernet,
    evaluation: Evaluation | None = None,
    workers: int | None = None,
    *,
    task: Task | None = None,
    digest: str | None = None,
    dashboard: bool = False,
) -> Iterator[Pool]:
    """A pool for the time of the context, for one search or for several.

    Args:
        supernet: to be evaluated as it is now: workers hold copies of it.
        evaluation: the protocol; `Evaluation()` if omitted. Searches may differ from it in what
            workers do not hold: all but `bits`, `prefix_sharing`, `threads` and `device`.
        workers: 0 evaluates in this process, without Ray; `None` takes one worker per GPU of the
            cluster, or per core where it has none.
        task: of the supernet; `None` for the classification of its `num_classes`.
        digest: of the supernet, if it is known already.
        dashboard: start Ray's dashboard where Ray is started, and print its address.

    Raises:
        InputError: a dashboard without Ray, more workers than the cluster has resources for, or a
            module that cannot be copied or sent to workers.
    """
    require_workers(workers)
    require_dashboard(dashboard, workers)
    require_kind(supernet, ChainSupernet, "supernet", "Build one of stem, blocks and head.")
    given = Evaluation() if evaluation is None else evaluation
    require_kind(given, Evaluation, "evaluation", "Write it as raynas.Evaluation(bits=16).")
    if digest is None:
        from raynas.supernets.identity import digest as digest_of

        digest = digest_of(supernet)
    protocol = protocol_for(supernet, given)
    judged = classification_or(task, supernet.num_classes)
    if workers == 0:
        local = LocalPool(supernet, protocol, task=judged, digest=digest)
        try:
            yield local
        finally:
            local.close()
        return
    from raynas.workers.ray_cluster import connected
    from raynas.workers.ray_pool import RayPool

    with connected(dashboard=dashboard):
        pool = RayPool(supernet, protocol, workers, task=judged, digest=digest)
        try:
            yield pool
        finally:
            pool.close()
