"""Candidates whose logits are not finite: ranked last, reported, and never in the way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_search import (
    PCF,
    Setting,
    history,
    interrupt,
    records,
    run_search,
    small_supernet,
    strict_json,
)

from raynas.supernets import ChainSupernet
from raynas.testing.supernets import CLASSES


def broken(*choices: tuple[int, int], value: float = math.nan) -> ChainSupernet:
    """The supernet with weights of some (block, choice) that are no numbers."""
    supernet = small_supernet()
    with torch.no_grad():
        for block, choice in choices:
            next(supernet.blocks[block][choice].parameters()).fill_(value)
    return supernet


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_candidates_that_are_not_finite_rank_last_and_are_reported(
    value: float, tmp_path: Path
) -> None:
    supernet = broken((0, 0), (3, 2), value=value)
    result = run_search(tmp_path, supernet=supernet)
    scores = [s for r in records(tmp_path) for s in (*r["rescored"], *r["population"])]
    for score in scores:
        choices = score["architecture"]
        assert score["finite"] == (choices[0] != 0 and choices[3] != 2)
        assert (score["loss"] is None) == (not score["finite"])
    lost = [s for s in scores if not s["finite"]]
    assert 0 < len(lost) == result.record["not_finite"] < len(scores)
    assert result.record["finite"]
    assert result.best.architecture[0] != 0
    for record in records(tmp_path):
        assert record["best"]["architecture"][0] != 0
    strict_json(tmp_path / "result.json")
    interrupt(tmp_path / "again", 3, supernet=supernet)
    run_search(tmp_path / "again", supernet=supernet, resume=True)
    assert history(tmp_path / "again") == history(tmp_path)


def test_a_supernet_without_any_finite_candidate_still_ends(tmp_path: Path) -> None:
    result = run_search(tmp_path, supernet=broken(*((0, choice) for choice in range(4))))
    record = strict_json(tmp_path / "result.json")
    assert record == result.record
    assert record["not_finite"] == record["evaluations"]
    assert not record["finite"]
    assert record["loss"] is None


def test_a_loss_beyond_all_numbers_with_finite_logits(tmp_path: Path) -> None:
    supernet = small_supernet()
    classifier = supernet.head[-1]
    with torch.no_grad():
        classifier.weight.fill_(0.0)
        classifier.bias.copy_(torch.tensor([3e38] + [-3e38] * (CLASSES - 1)))
    setting = Setting(replace(PCF, generations=3))
    result = run_search(tmp_path / "whole", setting, supernet=supernet)
    assert strict_json(tmp_path / "whole" / "result.json")["loss"] is None
    assert not result.record["finite"], "a loss without a value counts as no number"
    interrupt(tmp_path / "run", 2, setting=setting, supernet=supernet)
    run_search(tmp_path / "run", setting, supernet=supernet, resume=True)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
