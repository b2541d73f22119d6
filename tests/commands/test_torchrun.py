"""`raynas train` under torchrun: errors are told once, by whoever can tell them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from command_runs import DIGITS, TINY, assert_refused, torchrun

from raynas.commands import torchrun as joining


@pytest.mark.slow
def test_an_error_is_told_once_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "supernet.st"
    ended = torchrun("-m", "raynas", "train", *DIGITS, *TINY, "--out", out, "--batch-size", 33)
    assert ended.code != 0
    told = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith("error: batch_size: expected batches of a multiple of 2 samples")
    assert ended.out.count("Supernet:") == 1
    assert list(tmp_path.iterdir()) == []


def test_processes_that_do_not_know_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    arguments = ("train", *DIGITS, *TINY, "--out", tmp_path / "supernet.st")
    assert_refused(arguments, "WORLD_SIZE: expected 1, or the environment that torchrun makes")


def test_another_process_waits_for_the_first_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.HashStore()
    monkeypatch.setattr(joining, "PATIENCE", timedelta(milliseconds=10))
    assert not joining.has_ended(store)
    joining.say_ended(store)
    assert joining.has_ended(store)
