"""What benchmarks measure: the supernet of each paper, trained as its experiment trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from common.subjects import Subject

import raynas
from raynas.commands import supernet_training
from raynas.commands.families import build_family
from raynas.commands.paths import require_greedy


@pytest.mark.parametrize(
    ("system", "paths", "folder"),
    [
        ("spos", "uniform", "fashion_mnist"),
        ("proxylessnas", "uniform", "fashion_mnist_proxylessnas"),
        ("fairnas", "fair", "fashion_mnist_fairnas"),
        ("greedynas", "greedy", "fashion_mnist_greedynas"),
    ],
)
def test_each_system_is_trained_on_its_paths_and_kept_in_its_folder(
    system: Any, paths: Any, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def train(*arguments: Any, **options: Any) -> None:
        # What a training refuses of them, it would refuse after the data are read.
        require_greedy(options["paths"], {"filter_samples": options["filter_samples"]})
        asked.append((arguments[0].recipe["builder"], arguments[3], options["paths"]))

    monkeypatch.setattr(supernet_training, "train_or_load", train)
    monkeypatch.setattr(
        raynas.data, "fashion_mnist", lambda _, **sizes: raynas.data.digits(**sizes)
    )
    source = Subject(Path("x.json"), system=system).source(100, 200)
    source.open()
    home = Path("runs") / folder
    assert asked == [(system, home / "supernet.safetensors", paths)]
    assert source.home == home / "recorded-100-200"


def test_a_quick_run_reads_the_supernet_that_is_named(tmp_path: Path) -> None:
    images = raynas.data.digits(calibration=200, validation=300, shard_size=50)
    trained = build_family("proxylessnas", images)
    raynas.supernets.save(trained, tmp_path / "trained.st")
    subject = Subject(
        Path("x.json"), quick=True, supernet=tmp_path / "trained.st", system="proxylessnas"
    )
    supernet, _ = subject.source(100, 200).open()
    assert all(
        torch.equal(supernet.state_dict()[key], value)
        for key, value in trained.state_dict().items()
    )
