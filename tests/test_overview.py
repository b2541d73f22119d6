"""`describe`, `evaluate`, pools that searches share, and the recommended protocol."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_search import history, run_search, small_data, small_supernet
from torch import nn

import raynas
from raynas.costs import flops_table
from raynas.errors import InputError
from raynas.evaluation.device import machine
from raynas.ledger.ledger import Ledger
from raynas.space import encode
from raynas.supernets import ChainSupernet, Normalize


def test_an_overview_says_what_a_search_would_meet() -> None:
    supernet = small_supernet(blocks=3, choices=2)
    overview = raynas.describe(
        supernet, small_data(), constraint=raynas.FLOPs(at_most="80%"), paths=3, seed=1
    )
    table = flops_table(supernet)
    assert overview.blocks == (2, 2, 2)
    assert overview.architectures == 8
    every = list(supernet.space.enumerate())
    limit = 0.8 * max(map(table.of, every))
    assert overview.legal == sum(table.of(each) <= limit for each in every)
    assert set(overview.costs) == {"flops", "params"}
    assert overview.costs["flops"].least == min(map(table.of, every))
    assert overview.costs["flops"].most == max(map(table.of, every))
    assert table.of(overview.costs["flops"].dearest) == overview.costs["flops"].most
    wanted = [score.architecture for score in overview.paths]
    assert [score.value for score in overview.paths] == [
        score.value for score in raynas.evaluate(supernet, small_data(), wanted)
    ]
    assert overview.search_seconds(100, workers=2) == pytest.approx(50 * overview.seconds)
    lines = str(overview).splitlines()
    assert lines[0].split() == ["choices", "of", "the", "blocks", "2", "2", "2"]
    assert lines[1].removeprefix("their names").split() == list(supernet.names[0])
    assert len(set(supernet.names)) == 1
    for score in overview.paths:
        names = " ".join(supernet.decode(score.architecture))
        shown = f"random path {encode(score.architecture)} {score.text()} ({names})"
        assert shown in [" ".join(line.split()) for line in lines]


def test_a_pool_has_the_protocol_of_a_search_that_names_none(tmp_path: Path) -> None:
    supernet, strategy = small_supernet(), raynas.EA(population=3, generations=1, top_k=2)
    with raynas.open_pool(supernet, workers=0) as pool:
        raynas.search(supernet, small_data(), strategy=strategy, run_dir=tmp_path / "a", pool=pool)


def test_baselines_have_the_scores_of_finalists(tmp_path: Path) -> None:
    result = run_search(tmp_path / "run")
    finalists = result.record["finalists"]
    scores = raynas.evaluate(
        small_supernet(),
        small_data(),
        [each["architecture"] for each in finalists],
        evaluation=replace(result.evaluation, sample_rate=1.0, bits=32),
    )
    supernet = small_supernet()
    named = [{**s.record(), "names": list(supernet.decode(s.architecture))} for s in scores]
    assert named == finalists


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InputError, match="architecture: expected 3 choices"):
        raynas.evaluate(small_supernet(blocks=3), small_data(), [(0, 0)])


def test_searches_share_a_pool(tmp_path: Path) -> None:
    supernet, evaluation = small_supernet(), raynas.Evaluation(device="cpu")
    strategy = raynas.EA(population=4, generations=2, top_k=2)
    shared = {"strategy": strategy, "evaluation": evaluation}
    with raynas.open_pool(supernet, evaluation, 0) as pool:
        for seed in (1, 2):
            run_dir = tmp_path / f"shared{seed}"
            raynas.search(supernet, small_data(), run_dir=run_dir, pool=pool, seed=seed, **shared)
            alone = tmp_path / f"alone{seed}"
            raynas.search(supernet, small_data(), run_dir=alone, workers=0, seed=seed, **shared)
            assert history(run_dir) == history(alone)


DRIVEN: dict[str, dict[str, Any]] = {
    "samples": {"sample_rate": 0.5, "sampling": "weighted"},
    "votes": {
        "sample_rate": 0.3,
        "unfrozen_sample_rate": 0.6,
        "voters": 3,
        "sampling": "disagreement",
    },
    "inherited": {"batch_norm": "inherit"},
    "a low precision": {"precision": "bfloat16", "fold_batch_norm": True},
    "few images": {"calibration_images": 4},
}


def test_searches_that_differ_in_what_the_driver_decides_share_a_pool(tmp_path: Path) -> None:
    supernet = small_supernet()
    opened_with = raynas.Evaluation(device="cpu", bits=16)
    searches = {name: replace(opened_with, **changes) for name, changes in DRIVEN.items()}
    changed = {each for changes in DRIVEN.values() for each in changes}
    held = opened_with.held_by_workers
    assert held.keys() | changed == {each.name for each in fields(raynas.Evaluation)}
    strategy = raynas.PCFES(population=6, generations=4, top_k=3, threshold=0.5, monitor=2)
    with raynas.open_pool(supernet, opened_with, 0) as pool:
        for name, evaluation in searches.items():
            options = {"strategy": strategy, "evaluation": evaluation}
            shared, alone = tmp_path / f"shared {name}", tmp_path / f"alone {name}"
            one = raynas.search(supernet, small_data(), run_dir=shared, pool=pool, **options)
            other = raynas.search(supernet, small_data(), run_dir=alone, workers=0, **options)
            assert history(shared) == history(alone)
            assert one.best == other.best
    assert len({history(tmp_path / f"alone {name}") for name in searches}) == len(searches)


def test_a_pool_whose_task_has_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    weights = [1.0]
    task = raynas.PerSample(lambda outputs, targets: (weights[0] * outputs[:, 0], outputs[:, 0]))
    supernet, evaluation = small_supernet(), raynas.Evaluation(device="cpu")
    options = {"task": task, "evaluation": evaluation}
    with raynas.open_pool(supernet, evaluation, 0, task=task) as pool:
        assert raynas.evaluate(supernet, small_data(), [(0,) * 8], pool=pool, **options)
        weights[0] = -1.0
        with pytest.raises(InputError, match="opened with the same task"):
            raynas.evaluate(supernet, small_data(), [(0,) * 8], pool=pool, **options)


@pytest.mark.parametrize("what", ["weights", "evaluation", "task"])
def test_a_pool_of_something_else_is_refused(what: str, tmp_path: Path) -> None:
    supernet, evaluation = small_supernet(), raynas.Evaluation(device="cpu")
    options = {"evaluation": evaluation}
    with raynas.open_pool(supernet, evaluation, 0) as pool:
        if what == "weights":
            with torch.no_grad():
                next(supernet.parameters()).add_(1.0)
        elif what == "evaluation":
            options["evaluation"] = replace(evaluation, bits=16)
        else:
            options["task"] = raynas.PerSample(lambda outputs, targets: (outputs[:, 0],) * 2)
        with pytest.raises(InputError, match="pool: expected one that was opened with the same"):
            raynas.search(
                supernet,
                small_data(),
                strategy=raynas.EA(population=4, generations=1, top_k=2),
                run_dir=tmp_path / "run",
                pool=pool,
                **options,
            )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fast", [False, True])
def test_the_recommended_protocol_follows_the_machine(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "computes_fast_in", lambda precision, device: fast)
    chosen = raynas.Evaluation.recommended()
    assert (chosen.precision, chosen.fold_batch_norm) == (
        ("bfloat16", True) if fast else ("float32", False)
    )
    assert (chosen.sampling, chosen.voters, chosen.calibration_images) == ("disagreement", 10, 250)


def test_a_precision_that_is_slow_here_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        machine, "computes_fast_in", lambda precision, device: precision == "float32"
    )
    options = {"strategy": raynas.EA(population=3, generations=1, top_k=2)}
    with caplog.at_level(logging.WARNING, logger="raynas"):
        for name, precision in (("exact", "float32"), ("low", "bfloat16")):
            run_search(
                tmp_path / name,
                evaluation=raynas.Evaluation(device="cpu", precision=precision),
                **options,
            )
            assert len(caplog.records) == (name == "low")
    assert "no instructions" in caplog.text


def test_progress_prints_a_line_for_each_generation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_search(tmp_path / "run", progress=True, strategy=raynas.EA(population=3, generations=2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["generation", "1"], ["generation", "2"]]


def test_a_ledger_is_not_used_where_the_supernet_cannot_be_told_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from raynas.supernets.identity import Identity

    monkeypatch.setattr(Identity, "complete", property(lambda self: False))
    with caplog.at_level(logging.WARNING, logger="raynas"):
        run_search(tmp_path / "run", ledger=tmp_path / "scores.sqlite")
    assert "is not used" in caplog.text
    assert not (tmp_path / "scores.sqlite").exists()


def test_nothing_is_calibrated_without_batch_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    choices = [[nn.Identity(), nn.Conv2d(4, 4, 3, padding=1)] for _ in range(3)]
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 4, 3, padding=1))
    supernet = ChainSupernet(stem, choices, head, image_shape=(1, 6, 6), num_classes=6)
    data = replace(small_data(), calibration=())

    def never(*_: object) -> None:
        raise AssertionError("calibrated")

    monkeypatch.setattr("raynas.evaluation.evaluator.Evaluator.calibrate", never)
    result = raynas.search(
        supernet,
        data,
        strategy=raynas.PCFES(population=6, generations=4, top_k=3, threshold=0.5),
        run_dir=tmp_path / "run",
        workers=0,
        ledger=tmp_path / "scores.sqlite",
    )
    assert result.record["generations"] >= 1
    with Ledger(tmp_path / "scores.sqlite") as ledger:
        assert all(context.key.evaluation["calibration"] == 0 for context in ledger.contexts())
    assert np.isfinite(result.best.top1)
