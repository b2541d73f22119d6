"""Freed memory that a process keeps, seen by the page faults of a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from raynas.evaluation.device.allocator import keep_freed_memory

torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and keep_freed_memory()
small = torch.ones(1000)
faults = []
for _ in range(24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = torch.ones(20_000_000)
    y = x + 1
    del x, y
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(kept), sum(faults[12:]))
"""


def faults(choice: str) -> tuple[int, int]:
    """Whether memory is kept, and page faults of tensors of 80 MB once the heap has grown."""
    command = [sys.executable, "-c", PROGRAM, choice]
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    kept, count = map(int, done.stdout.split())
    return kept, count


def test_large_tensors_reuse_the_pages_of_freed_ones():
    kept, count = faults("keep")
    if not kept:
        pytest.skip("not glibc")
    _, otherwise = faults("leave")
    if otherwise < 1000:
        pytest.skip("huge pages: hardly a fault to save")
    # One round may still find other memory: the arena grows as other threads use it.
    assert count < otherwise / 4
