"""Benchmarks are scripts beside each other; their tests import them as such."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

sys.path[:0] = [str(TESTS.parent / "benchmarks"), str(TESTS)]
