"""Signs of life of a search that goes on elsewhere: who writes to its directory, and since when.

A search locks its directory, and the kernel tells who holds which lock: nothing is locked, opened
for writing, or touched to find out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

from raynas.files import Record
from raynas.report.read import RunRecords
from raynas.runlog import CONFIG, GENERATIONS, LOCK, METRICS, RESULT

LOCKS = Path("/proc/locks")
"""The kernel's list of locks; Linux has one."""

PATIENCE = 5.0
"""The silence that is nothing unusual, in times the longest generation of a search."""

QUIET = 60.0
"""The seconds of silence that are nothing unusual in any search."""


@final
@dataclass(frozen=True)
class Liveness:
    """The signs of life of a search.

    Args:
        silence: the seconds since the last record was written.
        usual: the seconds of its longest generation; 0 if none is known.
        writer: the process of this machine that writes to the directory; `None` if there is none,
            or none can be seen: it may be one of another machine.
    """

    silence: float
    usual: float
    writer: int | None

    @property
    def seems_dead(self) -> bool:
        """Whether nobody is known to write, and nothing has been written for unusually long."""
        return self.writer is None and self.silence > max(QUIET, PATIENCE * self.usual)


def liveness_of(records: RunRecords, now: float, locks: Path = LOCKS) -> Liveness:
    """Look for signs of life of a search.

    Args:
        records: as they were read.
        now: the time, in seconds since 1970.
        locks: the kernel's list of locks.
    """
    written = [
        path.stat().st_mtime
        for name in (CONFIG, GENERATIONS, METRICS, RESULT)
        if (path := records.directory / name).exists()
    ]
    # A clock of another machine may be ahead.
    silence = max(0.0, now - max(written, default=now))
    usual = max((seconds_of(each) for each in records.metrics), default=0.0)
    return Liveness(silence, usual, writer_of(records.directory, locks))


def seconds_of(metrics: Record) -> float:
    """The seconds of a generation; 0 where they are not known."""
    return float(metrics.get("seconds") or 0.0)


def writer_of(directory: Path, locks: Path = LOCKS) -> int | None:
    """The process of this machine that holds the lock of a run directory, if one is seen.

    Args:
        directory: of the run.
        locks: lines such as `1: FLOCK ADVISORY WRITE 4059 fe:00:2433781 0 EOF`: the process, the
            device in hexadecimal numbers, and the file.
    """
    try:
        file = (directory / LOCK).stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    wanted = f"{device}:{file.st_ino}"
    for line in lines:
        fields = line.split()
        # Waiting locks have an arrow behind the number.
        if fields[1:2] == ["FLOCK"] and len(fields) >= 6 and fields[5] == wanted:
            return int(fields[4])
    return None
