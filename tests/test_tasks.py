"""Searches of other tasks than classification, against plain loops: regression and segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_search import history, records
from small_tasks import (
    EA,
    PCF,
    TASKS,
    plain_score,
)

import raynas
from raynas.errors import InputError
from raynas.evolution import Strategy
from raynas.space import Architecture

SEEDS = {"regression": 2, "segmentation": 0}
"""For which blocks are frozen, and not all at once."""


def scored(run_dir: Path) -> dict[Architecture, dict[str, Any]]:
    """The recorded scores on all samples, before any freeze."""
    return {
        tuple(score["architecture"]): score
        for record in records(run_dir)
        if record["frozen"] == 0
        for score in record["population"]
    }


def search_task(
    kind: str, run_dir: Path, strategy: Strategy = PCF, workers: int = 0, **options: Any
) -> Any:
    supernet, data, task = TASKS[kind]()
    evaluation = raynas.Evaluation(device="cpu", **options)
    return raynas.search(
        supernet, data, strategy=strategy, run_dir=run_dir, evaluation=evaluation, task=task,
        workers=workers, seed=SEEDS[kind],
    )  # fmt: skip


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("kind", TASKS)
def test_scores_are_those_of_a_plain_loop(kind: str, batch_norm: str, tmp_path: Path) -> None:
    result = search_task(kind, tmp_path, EA, batch_norm=batch_norm)
    supernet, data, task = TASKS[kind]()
    calibration = data.calibration if batch_norm == "recalibrate" else []
    found = scored(tmp_path)
    assert len(found) == 12
    for architecture, score in found.items():
        value, loss = plain_score(supernet, architecture, task, calibration, data.validation)
        assert score[task.name] == pytest.approx(value, rel=1e-4, abs=1e-5)
        assert score["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        assert score["samples"] == 30
        assert "correct" not in score
    best = max(found, key=lambda each: (found[each][task.name], -found[each]["loss"]))
    assert result.best.architecture == best
    value, _ = plain_score(supernet, best, task, calibration, data.test)
    assert result.best.test_objectives[task.name] == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert result.record[f"test_{task.name}"] == result.best.test_objectives[task.name]
    for name in ("top1", "top5", "test_top1"):
        with pytest.raises(InputError, match=f"{name}: expected a search for a classification"):
            getattr(result.best, name)
    assert "finalists" not in repr(result)


MODES: dict[str, dict[str, Any]] = {
    "random": {"sampling": "random", "sample_rate": 0.5},
    "top": {"sampling": "top", "sample_rate": 0.5},
    "weighted": {"sampling": "weighted", "sample_rate": 0.5},
    "disagreement": {"sampling": "disagreement", "sample_rate": 0.5},
    "first votes": {"sampling": "disagreement", "sample_rate": 0.5, "unfrozen_sample_rate": 0.9},
    "everything": {},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", TASKS)
def test_every_sampling_mode_searches(kind: str, mode: str, tmp_path: Path) -> None:
    options = MODES[mode]
    result = search_task(kind, tmp_path / "trie", **options)
    name = result.record["objectives"][0]
    recorded = records(tmp_path / "trie")
    behind = [r for r in recorded if r["frozen"] and (r["rescored"] or r["population"])]
    assert behind, "the samples are selected at a freeze"
    kept = round(options.get("sample_rate", 1.0) * 30)
    assert {r["samples"] for r in behind} == {kept}
    everything = [s for r in recorded for s in (*r["rescored"], *r["population"])]
    assert all(np.isfinite([score[name], score["loss"]]).all() for score in everything)
    search_task(kind, tmp_path / "apart", prefix_sharing=False, **options)
    assert history(tmp_path / "apart") == history(tmp_path / "trie")


@pytest.mark.parametrize("kind", TASKS)
def test_fewer_bits_move_scores_behind_a_freeze_a_little(kind: str, tmp_path: Path) -> None:
    losses = {}
    for bits in (32, 16, 8, 4):
        search_task(kind, tmp_path / str(bits), bits=bits)
        (first, *_) = (r for r in records(tmp_path / str(bits)) if r["rescored"])
        losses[bits] = np.array([score["loss"] for score in first["rescored"]])
    assert len(losses[32]) > 0
    for bits, close in ((16, 1e-3), (8, 0.05), (4, 0.5)):
        assert losses[bits] == pytest.approx(losses[32], rel=close, abs=close / 10)
        assert (losses[bits] != losses[32]).any()
