"""Recorded outcomes are read back as they were written, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcomes import path_of, read, save

from raynas.evaluation.scores import Outcomes


def test_outcomes_of_a_generation_survive_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((3, 7)) < 0.6
    scores = Outcomes(
        {"top1": correct, "top5": correct | (rng.random((3, 7)) < 0.5)},
        rng.random((3, 7), dtype=np.float32),
        np.array([True, True, False]),
    )
    architectures = [[0, 1], [1, 1], [1, 0]]
    counts = correct.sum(axis=1).tolist()
    rows = [{"architecture": a, "correct": c} for a, c in zip(architectures, counts, strict=True)]
    record: dict[str, Any] = {
        "generation": 4,
        "prefix": [],
        "rescored": rows[:1],
        "population": rows[1:],
    }
    path = path_of(tmp_path, record)
    save(path, scores, record)
    again = read(path, record, exact=True)
    assert again.architectures == ((0, 1), (1, 1), (1, 0))
    assert (again.number, again.prefix, again.parents) == (4, (), 1)
    for name, values in scores.values.items():
        np.testing.assert_array_equal(again.outcomes.values[name], values)
    np.testing.assert_array_equal(again.outcomes.losses, scores.losses)
    np.testing.assert_array_equal(again.outcomes.finite, scores.finite)
    rows[2]["correct"] += 1
    with pytest.raises(ValueError, match="not of the recorded search"):
        read(path, record, exact=True)
    assert read(path, record, exact=False).architectures == again.architectures
