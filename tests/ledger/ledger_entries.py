"""Entries that every process would find the same, and ledgers of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.ledger.score_key import ScoreKey
from raynas.score import Score

SAMPLES = 21
KEY = ScoreKey("supernet", "data", {"batch_norm": "recalibrate", "threads": 1}, SAMPLES)


def make_entry(number: int, samples: int = SAMPLES) -> Entry:
    """The only entry of its architecture: what every process would find."""
    rng = np.random.default_rng(number)
    bits = rng.random(samples) < 0.7
    correct = int(bits.sum())
    architecture = tuple(int(digit) for digit in f"{number:06d}")
    objectives = {"top1": correct / samples, "top5": 1.0}
    score = Score(architecture, objectives, float(rng.random()), True, samples, correct)
    return Entry(score, digest_of_outcomes(bits))


def content(ledger: Ledger, key: ScoreKey | None = None) -> list[Any]:
    return [plain(p, entry) for p, entry in ledger.rows(key)]


def plain(key: ScoreKey, entry: Entry) -> tuple[Any, ...]:
    """Compares as the entry does to the last bit: the sign of zero, NaN, and order included."""
    return key.text, repr(entry.score), entry.outcomes_digest.hex()


def write_ledger(path: Path, count: int = 300) -> bytes:
    with Ledger(path) as ledger:
        ledger.add(KEY, [make_entry(number) for number in range(count)])
    return path.read_bytes()
