"""Keeping freed memory in a process of ours, instead of giving it back and asking for it again.

Activations of large images are tens of megabytes. glibc maps so much anew for every tensor and
unmaps it afterwards, and the kernel hands out zeroed pages each time, which takes longer than most
layers compute.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
"""Constants of glibc's `malloc.h`."""

NEVER = -1


def keep_freed_memory() -> bool:
    """Let this process reuse what it has freed.

    Its resident memory then stays at its peak, and has gaps between tensors.

    Returns:
        Whether it could be set; it is a matter of glibc only.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    unmapped = mallopt(M_MMAP_MAX, 0) == 1
    untrimmed = mallopt(M_TRIM_THRESHOLD, NEVER) == 1
    return unmapped and untrimmed
