"""The meters of a pool's actors, read between its calls."""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray.exceptions import ObjectLostError, RayTaskError

from raynas.metering.sampler import Snapshot
from raynas.workers.ray_objects import DEAD
from raynas.workers.ray_workers import Worker

ANSWER_SECONDS = 30.0
"""The time that actors may take to answer: one that was interrupted ends its call before."""


def read_meters(workers: Sequence[Worker], seconds: float = ANSWER_SECONDS) -> list[Snapshot]:
    """The snapshots of all actors that answer; one that has died is missed by the next call.

    Args:
        workers: that are ready.
        seconds: to wait for them.
    """
    asked = [worker.actor.read_meter.remote() for worker in workers]
    answered = ray.wait(asked, num_returns=len(asked), timeout=seconds)[0] if asked else []
    snapshots = []
    for reference in answered:
        try:
            snapshots.append(ray.get(reference))
        except (*DEAD, ObjectLostError):
            continue
        except RayTaskError:
            # A meter that fails ends no search; that it was not read is said of the energy.
            continue
    return snapshots
