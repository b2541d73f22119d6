"""`Gauge`: an energy counter or a power sensor of one device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, final

Kind = Literal["cpu", "gpu"]
"""The kind of a device: a package of processors, or a GPU."""

Unit = Literal["J", "W"]
"""The unit that a gauge tells: joules that were counted so far, or watts at present."""

PROCESSORS = "processors"
"""The device that stands for all packages of a machine where none can be told apart."""


@final
class UnreadableError(Exception):
    """A gauge that cannot be read at present, and why."""


class Gauge(ABC):
    """One energy counter or power sensor.

    Attributes:
        device: a name that no other device of the machine has, the same in all its processes.
        kind: of the device.
    """

    device: str
    kind: Kind

    @property
    def unit(self) -> Unit:
        """The unit that it tells at present."""
        return "J"

    @property
    def range_j(self) -> float | None:
        """Joules at which a counter begins anew; `None` if it never does."""
        return None

    @abstractmethod
    def read(self) -> float:
        """Read it.

        Raises:
            UnreadableError: it cannot be read.
        """

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Let go of what it holds."""


@final
class Absent(Gauge):
    """The gauge of a device that has none, so that it is known what is not.

    Args:
        device: its name.
        kind: of the device.
        reason: why there is none.
    """

    def __init__(self, device: str, kind: Kind, reason: str) -> None:
        self.device, self.kind, self._reason = device, kind, reason

    def read(self) -> float:
        """Raise `UnreadableError`, always."""
        raise UnreadableError(self._reason)
