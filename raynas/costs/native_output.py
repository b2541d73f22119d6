"""Keeping what native libraries print off the standard output, which a command's results go to."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2
"""File descriptors of the process."""

# Two threads that redirected at once could leave the process without its standard output.
_REDIRECTING = threading.Lock()


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Let the standard output of the process be its standard error for a while.

    What other threads write in this time is not lost, but goes there, too. Where the system does
    not allow it, all stays as it is.
    """
    with _REDIRECTING:
        try:
            kept = os.dup(STDOUT)
        except OSError:
            yield
            return
        try:
            flush()
            os.dup2(STDERR, STDOUT)
        except OSError:
            os.close(kept)
            yield
            return
        try:
            yield
        finally:
            flush()
            os.dup2(kept, STDOUT)
            os.close(kept)


def flush() -> None:
    """Write out what the C library has buffered; Python's own buffers are others."""
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)
