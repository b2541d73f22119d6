"""Ray's object references: waiting for them, and what their errors mean."""

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

from raynas.workers.pool import LostObjectError

DEAD = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError)
"""The errors of a call whose actor has died, or cannot be reached any more."""


def await_any(references: Sequence[Any], seconds: float) -> list[Any]:
    """The references that are ready as soon as one is, in their order; none if none is in time."""
    refs = list(references)
    first, _ = ray.wait(refs, num_returns=1, timeout=seconds)
    return ray.wait(refs, num_returns=len(refs), timeout=0)[0] if first else []


def cause_of(error: RayTaskError) -> Exception:
    """The worker's own exception behind a failed call, or the loss of one of its arguments."""
    cause = error.cause
    if isinstance(cause, ObjectLostError):
        return LostObjectError(str(cause))
    return cause if isinstance(cause, Exception) else error
