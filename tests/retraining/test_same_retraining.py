"""What a directory of `raynas.retrain` is read back for: the same samples, task and rule alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_runs import closeness, linear_supernet, slopes
from small_search import contents
from torch import nn

import raynas
from raynas.data.splits import SearchData
from raynas.errors import InputError
from raynas.retraining.network import rule_in_words
from raynas.retraining.records import digest_of_shards, splits_record
from raynas.shards.shard import Shard, make_shards
from raynas.supernets.spos import initialize
from raynas.training import EpochReport, TrainingSettings

SETTINGS = TrainingSettings(epochs=1, batch_size=256, learning_rate=0.1, device="cpu")
FOUND = (2, 1, 0)


@pytest.fixture(scope="module", params=[False, True], ids=["fresh", "inherited"])
def ended(
    request: Any, supernet: raynas.ChainSupernet, data: SearchData,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, bool]:  # fmt: skip
    """A directory with a finished retraining, and whether its weights were inherited."""
    folder, inherit = tmp_path_factory.mktemp("ended"), bool(request.param)
    raynas.retrain(supernet, data, FOUND, SETTINGS, folder, inherit=inherit)
    return folder, inherit


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


def interrupt(report: EpochReport) -> None:
    raise Interrupted


def of_other_labels(shards: Any, split: str) -> list[Shard]:
    """The same images, each with the label after its own."""
    images = np.concatenate([shard.features for shard in shards])
    labels = np.concatenate([shard.labels for shard in shards])
    return make_shards(images, (labels + 1) % 10, split=split, shard_size=shards[0].rows)


@pytest.mark.parametrize("split", ["calibration", "validation", "test"])
def test_samples_of_other_labels_are_refused_by_their_split(
    split: str, ended: tuple[Path, bool], supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder, inherit = ended
    other = replace(data, **{split: of_other_labels(getattr(data, split), split)})
    before = contents(folder)

    def again() -> Any:
        return raynas.retrain(supernet, other, FOUND, SETTINGS, folder, inherit=inherit)

    if split == "calibration" and not inherit:
        assert again().record["architecture"] == list(FOUND)
    else:
        text = rf"out: .*another one \(samples\.{split}: [0-9a-f]{{32}} there, [0-9a-f]{{32}} now\)"
        with pytest.raises(InputError, match=text):
            again()
    assert contents(folder) == before


def test_inherited_statistics_of_the_supernet_depend_on_no_calibration_samples(
    data: SearchData,
) -> None:
    digests = splits_record(data, calibration=False)
    assert digests["calibration"] is None
    assert splits_record(data, calibration=True) == {
        **digests, "calibration": digest_of_shards(data.calibration, "calibration"),
    }  # fmt: skip


def test_a_held_out_split_that_is_gone_is_refused(
    ended: tuple[Path, bool], supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder, inherit = ended
    without = replace(data, test=())
    with pytest.raises(InputError, match=r"samples\.test: [0-9a-f]{32} there, None now"):
        raynas.retrain(supernet, without, FOUND, SETTINGS, folder, inherit=inherit)


def test_what_is_no_shard_is_named_before_anything_is_written(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path
) -> None:
    wrong: Any = replace(data, test=[np.zeros(3)])
    with pytest.raises(InputError, match=r"test: expected shards .*, got a ndarray"):
        raynas.retrain(supernet, wrong, FOUND, SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def reversed_closeness() -> raynas.Task:
    """A task of the same name and the same name of its function as `closeness`."""

    def negative_error(outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        error = (outputs.squeeze(1) - targets).abs()
        return error, error

    task: Any = closeness()
    negative_error.__qualname__ = task.function.__qualname__
    return replace(task, function=negative_error)


def test_another_task_of_the_same_name_is_refused(tmp_path: Path) -> None:
    assert reversed_closeness().description() == closeness().description()
    given = (linear_supernet(), slopes(), (1, 2), replace(SETTINGS, batch_size=16), tmp_path)
    one = raynas.retrain(*given, task=closeness())
    assert raynas.retrain(*given, task=closeness(), observer=interrupt).best == one.best
    with pytest.raises(InputError, match=r"task\.code: [0-9a-f]{32} there, [0-9a-f]{32} now"):
        raynas.retrain(*given, task=reversed_closeness())


def drawn(spread: float) -> Any:
    """A rule that differs from others made here by a value alone."""

    def rule(module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.normal_(0.0, spread)

    return rule


def test_another_rule_of_the_same_name_is_refused(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path
) -> None:
    given = (supernet, data, FOUND, SETTINGS, tmp_path)
    one = raynas.retrain(*given, initialize=drawn(0.1))
    assert raynas.retrain(*given, initialize=drawn(0.1), observer=interrupt).best == one.best
    with pytest.raises(InputError, match=r"begins\.rule: drawn\.<locals>\.rule .* there"):
        raynas.retrain(*given, initialize=drawn(0.2))


def test_rules_of_this_library_go_by_their_name_and_others_never_do() -> None:
    assert rule_in_words(None) is None
    assert rule_in_words(initialize) == "initialize"
    mine = drawn(0.1)
    mine.__qualname__ = "initialize"
    assert rule_in_words(mine) != rule_in_words(initialize)
    assert rule_in_words(drawn(0.1)) == rule_in_words(drawn(0.1)) != rule_in_words(drawn(1.0))
