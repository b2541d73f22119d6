"""Scores and losses of a user's own: their names, their identity, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_search import records
from small_tasks import (
    EA,
    closeness,
    image_data,
    image_supernet,
    regression,
)
from torch import Tensor, nn

import raynas
from raynas.errors import InputError
from raynas.supernets.value_digest import identity_of_task
from raynas.task import RECORDED, classification_or


def test_records_name_nothing_that_an_objective_may_be_called(tmp_path: Path) -> None:
    task = raynas.PerSample(closeness, "closeness")
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    result = raynas.search(
        image_supernet(head), image_data("numbers"), strategy=EA, task=task, workers=0,
        run_dir=tmp_path / "run",
    )  # fmt: skip
    result.export(tmp_path / "best")
    names = {*result.record, *result.record["finalists"][0]}
    names |= set(json.loads((tmp_path / "best" / "architecture.json").read_text()))
    names -= {"closeness", "test_closeness"}
    assert names <= RECORDED


@pytest.mark.parametrize("name", [*sorted(RECORDED), "top1", "test_score", "two words", "", 3])
def test_an_objective_has_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(InputError, match=r"^name: expected a name that records"):
        raynas.PerSample(closeness, name)


@pytest.mark.parametrize("names", [(), ("seconds",), ("score", "score"), ("score", "test_score")])
def test_a_task_of_ones_own_has_names_of_its_own(names: tuple[str, ...]) -> None:
    class Named(raynas.Task):
        """A task with these objectives and nothing else."""

        objectives = names
        judge = training_loss = require_outputs = require_targets = description = None

    with pytest.raises(InputError, match=r"^task: expected a name that records"):
        classification_or(Named(), None)


CALLS: list[int] = []


def forgetful(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gives something else each time."""
    CALLS.append(1)
    return outputs[:, 0] + len(CALLS), outputs[:, 0]


def failing(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    raise KeyError("no such metric")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (forgetful, "others the second time"),
        (failing, "KeyError: 'no such metric'"),
        (lambda o, t: (o[:, 0], o[:, 0].mean()), r"Tensor \[8\], Tensor \[\]"),
        (lambda o, t: (o[:, 0].numpy(), o[:, 0]), r"ndarray \[8\], Tensor \[8\]"),
        (lambda o, t: (o[:, 0] * 1j, o[:, 0]), "two real tensors"),
        (lambda o, t: None, "NoneType"),
    ],
)
def test_a_function_that_cannot_judge_is_refused_early(
    function: Any, message: str, tmp_path: Path
) -> None:
    supernet, data, _ = regression()
    with pytest.raises(raynas.InputError, match=rf"task: .*{message}"):
        raynas.check_search(
            supernet, data, task=raynas.PerSample(function), run_dir=tmp_path / "run", workers=0
        )


def marking(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Clears the targets once it has used them."""
    found = closeness(outputs, targets.clone())
    targets.zero_()
    return found


def test_targets_that_a_function_writes_to_are_its_own() -> None:
    rng = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(3, 5, 1, generator=rng), torch.randn(5, generator=rng)
    expected = raynas.PerSample(closeness).judge(outputs, targets)
    found = raynas.PerSample(marking).judge(outputs, targets)
    assert torch.equal(found[0]["score"], expected[0]["score"])
    assert torch.equal(found[1], expected[1])


def undefined(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Has no score where the output is positive."""
    score, loss = closeness(outputs, targets)
    return score.where(outputs[:, 0] <= 0, torch.nan), loss


def test_scores_that_are_not_numbers_are_recorded_as_null(tmp_path: Path) -> None:
    supernet, data, _ = regression()
    raynas.search(
        supernet,
        data,
        strategy=EA,
        run_dir=tmp_path / "run",
        workers=0,
        task=raynas.PerSample(undefined),
        ledger=tmp_path / "scores.sqlite",
    )
    scores = [score for record in records(tmp_path / "run") for score in record["population"]]
    assert any(score["score"] is None for score in scores)
    assert all((score["score"] is None) == (not score["finite"]) for score in scores)


WEIGHTS = [1.0] * 1000
TABLE = {"weights": torch.ones(3)}


def by_list(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return WEIGHTS[500] * outputs[:, 0], outputs[:, 0]


def by_table(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return TABLE["weights"][0] * outputs[:, 0], outputs[:, 0]


def test_tables_that_a_function_reads_belong_to_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def both() -> list[dict[str, Any]]:
        return [identity_of_task(raynas.PerSample(function)) for function in (by_list, by_table)]

    before = both()
    assert both() == before
    changed = [*WEIGHTS[:500], 2.0, *WEIGHTS[501:]]
    monkeypatch.setattr(sys.modules[__name__], "WEIGHTS", changed)
    monkeypatch.setitem(TABLE, "weights", 2 * TABLE["weights"])
    assert all(one != other for one, other in zip(both(), before, strict=True))


def by(measure: Any) -> raynas.PerSample:
    """A task whose score is a function of the error, negated."""

    def judge(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        errors = measure(outputs[:, 0] - targets)
        return -errors, errors

    return raynas.PerSample(judge)


def best_score(task: raynas.Task, run_dir: Path, ledger: Path | None) -> float:
    supernet, data, _ = regression()
    result = raynas.search(
        supernet, data, strategy=EA, task=task, workers=0, run_dir=run_dir, ledger=ledger
    )
    return result.best.objectives["score"]


def test_a_ledger_gives_no_scores_of_a_task_that_differs_in_a_function_of_c(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "scores.sqlite"
    first = best_score(by(Tensor.abs), tmp_path / "first", ledger)
    second = best_score(by(Tensor.square), tmp_path / "second", ledger)
    assert second == best_score(by(Tensor.square), tmp_path / "alone", None) != first


def test_a_ledger_is_not_used_for_a_task_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = by(lambda error: eval("error.abs()"))
    with caplog.at_level("WARNING", logger="raynas"):
        best_score(hidden, tmp_path / "run", tmp_path / "scores.sqlite")
    assert "is not used: what eval gives in" in caplog.text
    assert "of the task cannot be read" in caplog.text
    assert not (tmp_path / "scores.sqlite").exists()
    supernet, data, _ = regression()
    with caplog.at_level("WARNING", logger="raynas"):
        raynas.search(
            supernet, data, strategy=EA, task=hidden, workers=0, run_dir=tmp_path / "run",
            resume=True,
        )  # fmt: skip
    assert "resume: what eval gives in" in caplog.text
