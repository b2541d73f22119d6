"""Digests of Python values that are the same in every process: attributes, functions, classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, final

from raynas.supernets.reach import Reach
from raynas.task import Classification, Task


@final
@dataclass(frozen=True)
class ValueIdentity:
    """The digest of a value, and what of it could not be read.

    Args:
        digest: 32 hexadecimal digits.
        unread: values in a few words each, with which the digest does not change.
    """

    digest: str
    unread: tuple[str, ...]


def value_identity(value: Any) -> ValueIdentity:
    """Read one value and all code that it can be seen to call.

    Args:
        value: a function, or an object such as a task; the same value in another process gives the
            same digest.
    """
    # Nobody runs it on examples, so that a table of a thousand class weights must be read.
    reach = Reach({}, caches=False)
    own = reach.digest(value)
    parts = [own, *sorted(reach.reached())]
    digest = hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    return ValueIdentity(digest, tuple(sorted(reach.unread)))


def value_digest(value: Any) -> str:
    """The digest of `value_identity`."""
    return value_identity(value).digest


def identity_of_task(task: Task) -> dict[str, Any]:
    """A task as a JSON object that changes with the code of its function."""
    described = task.description()
    return (
        described if isinstance(task, Classification) else {**described, "code": value_digest(task)}
    )


def unread_of_task(task: Task) -> tuple[str, ...]:
    """Everything that `identity_of_task` does not change with, in a few words each."""
    return () if isinstance(task, Classification) else value_identity(task).unread
