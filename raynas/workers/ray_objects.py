"""Ray's object references: waiting for them, what they name, and what their errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from raynas.workers.pool import Call, LostObjectError

DEAD = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError)
"""What Ray raises for a call whose actor has died, or cannot be reached any more."""


def await_any(references: Sequence[Any], seconds: float) -> list[Any]:
    """All that are ready, in the order given, as soon as one is; none if none is in time."""
    refs = list(references)
    first, _ = ray.wait(refs, num_returns=1, timeout=seconds)
    return ray.wait(refs, num_returns=len(refs), timeout=0)[0] if first else []


def home_of(call: Call) -> str | None:
    """The name of the shard that a call reads from the store; holding it keeps nothing there."""
    return call[0].hex() if call and isinstance(call[0], ray.ObjectRef) else None


def cause_of(error: RayTaskError) -> Exception:
    """What went wrong inside a call: the worker's own exception, or a lost argument."""
    cause = error.cause
    if isinstance(cause, ObjectLostError):
        return LostObjectError(str(cause))
    return cause if isinstance(cause, Exception) else error
