"""Searches that share a ledger: the same histories, for less work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_search import (
    PCF,
    SAMPLED,
    SETTINGS,
    Setting,
    determined,
    history,
    interrupt,
    records,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.errors import InputError
from raynas.ledger.ledger import Ledger

EXACT = Setting(PCF)


def forwards(run_dir: Path) -> int:
    return sum(metrics["block_forwards"] for metrics in records(run_dir, "metrics.jsonl"))


def known(run_dir: Path) -> int:
    return sum(metrics["known"] for metrics in records(run_dir, "metrics.jsonl"))


def evaluated(run_dir: Path) -> int:
    candidates = sum(metrics["candidates"] for metrics in records(run_dir, "metrics.jsonl"))
    return candidates - known(run_dir)


@pytest.mark.parametrize("name", ["pcf, top samples, 16 bits", "pcf, first votes", "exact"])
def test_a_history_is_the_same_without_a_ledger_with_an_empty_and_with_a_full_one(
    name: str, tmp_path: Path
) -> None:
    setting = {**SETTINGS, "exact": EXACT}[name]
    ledger = tmp_path / "scores.sqlite"
    for run, options in (("none", {}), ("empty", {"ledger": ledger}), ("full", {"ledger": ledger})):
        run_search(tmp_path / run, setting, **options)
        assert history(tmp_path / run) == history(tmp_path / "none")
        assert determined(tmp_path / run) == determined(tmp_path / "none")
    assert forwards(tmp_path / "empty") == forwards(tmp_path / "none")
    assert evaluated(tmp_path / "empty") > 0
    assert evaluated(tmp_path / "full") == 0
    frozen = records(tmp_path / "full")[-1]["frozen"]
    images = 32 + 62
    asked = {"top": 1, "disagreement": 3 + 12}[setting.evaluation.sampling]
    selecting = 8 * images * asked if setting.evaluation.sample_rate < 1 and frozen else 0
    assert forwards(tmp_path / "full") <= frozen * images + selecting, "advancing and voting only"
    with Ledger(ledger, read_only=True) as kept:
        assert kept.verify() == []


def test_a_second_budget_starts_from_what_the_first_search_scored(tmp_path: Path) -> None:
    ledger = tmp_path / "scores.sqlite"
    strategy = raynas.EA(population=8, generations=6, top_k=4)
    loose, tight = (Setting(strategy, constraint=raynas.FLOPs(at_most=n)) for n in (25_000, 21_000))
    run_search(tmp_path / "loose", loose, ledger=ledger)
    run_search(tmp_path / "fresh", tight)
    run_search(tmp_path / "reusing", tight, ledger=ledger)
    assert history(tmp_path / "reusing") == history(tmp_path / "fresh")
    scored = {
        tuple(score["architecture"])
        for record in records(tmp_path / "loose")
        for score in (*record["rescored"], *record["population"])
    }
    wanted = {
        tuple(score["architecture"])
        for record in records(tmp_path / "fresh")
        for score in (*record["rescored"], *record["population"])
    }
    assert known(tmp_path / "reusing") == len(scored & wanted) > 0
    assert evaluated(tmp_path / "reusing") == len(wanted - scored)
    assert forwards(tmp_path / "reusing") < forwards(tmp_path / "fresh")
    with Ledger(ledger, read_only=True) as kept:
        (context,) = kept.contexts()
        assert context.architectures == len(scored | wanted)
        assert (context.key.samples, kept.verify()) == (62, [])
        space = kept.space(context.key.supernet)
        assert space is not None
        for record in records(tmp_path / "loose"):
            for score in record["population"]:
                assert space.costs(tuple(score["architecture"])) == score["costs"]


def test_strategies_share_what_they_scored(tmp_path: Path) -> None:
    ledger = tmp_path / "scores.sqlite"
    run_search(tmp_path / "ea", Setting(raynas.EA(population=8, generations=2)), ledger=ledger)
    rounded = replace(EXACT, evaluation=raynas.Evaluation(sample_rate=0.5, bits=16, device="cpu"))
    run_search(tmp_path / "pcf", rounded, ledger=ledger)
    first = records(tmp_path / "pcf", "metrics.jsonl")[0]
    assert first["known"] == first["candidates"] == 8, "before a freeze nothing is rounded"


def test_an_interrupted_search_goes_on_with_its_ledger(tmp_path: Path) -> None:
    run_search(tmp_path / "whole", SAMPLED)
    ledger = tmp_path / "scores.sqlite"
    interrupt(tmp_path / "run", 3, ledger=ledger)
    # The generation was scored, but not recorded yet.
    lines = (tmp_path / "run" / "generations.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "generations.jsonl").write_text("".join(lines[:2]))
    run_search(tmp_path / "run", SAMPLED, ledger=ledger, resume=True)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert determined(tmp_path / "run") == determined(tmp_path / "whole")
    again = records(tmp_path / "run", "metrics.jsonl")[2]
    assert again["known"] == again["candidates"] > 0


def test_within_a_run_the_freeze_scores_no_parent_again(tmp_path: Path) -> None:
    run_search(tmp_path, EXACT)
    rescored = sum(len(record["rescored"]) for record in records(tmp_path))
    assert known(tmp_path) > 0
    assert known(tmp_path) <= rescored


def test_a_file_that_is_no_ledger_ends_the_search_before_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("mine\n" * 1000)
    arguments: dict[str, Any] = {"run_dir": tmp_path / "run", "workers": 0, "ledger": path}
    with pytest.raises(InputError, match="ledger: expected a SQLite file"):
        raynas.check_search(small_supernet(), small_data(), **arguments)
    with pytest.raises(InputError, match="ledger: expected a SQLite file"):
        raynas.search(small_supernet(), small_data(), strategy=PCF, **arguments)
    assert path.read_text() == "mine\n" * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_checking_a_search_creates_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.sqlite"
    raynas.check_search(
        small_supernet(), small_data(), run_dir=tmp_path / "run", workers=0, ledger=path
    )
    assert not list(tmp_path.iterdir())
