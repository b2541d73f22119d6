"""Benchmarks are scripts in folders, beside their helpers; their tests import them as such."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"
FOLDERS = (
    BENCHMARKS / name
    for name in ("regret", "speed", "sampling", "scaling", "prediction", "specialization")
)

sys.path[:0] = [*map(str, FOLDERS), str(BENCHMARKS), str(TESTS)]
