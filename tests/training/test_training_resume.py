"""A training that is interrupted and resumed ends where the uninterrupted one does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import SETTINGS, digits, same, small_supernet, state, with_settings

from raynas import PerSample
from raynas.costs import FLOPs, resolve_limits
from raynas.data import ArrayImages
from raynas.errors import InputError
from raynas.space import Architecture, SearchSpace
from raynas.supernets import load, save
from raynas.training import (
    EpochReport,
    LegalPaths,
    PathSampler,
    StepReport,
    train,
)
from raynas.training.resume import compare


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


def interrupt_after(epoch: int, step: int | None = None) -> Callable[[Any], None]:
    def observe(report: Any) -> None:
        if report.epoch == epoch and (step is None or report.step == step):
            raise Interrupted

    return observe


def timeless(reports: list[EpochReport]) -> list[dict[str, float]]:
    """What the seed determines in the reports."""
    return [
        {k: v for k, v in asdict(r).items() if k not in ("seconds", "images_per_second")}
        for r in reports
    ]


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    supernet = small_supernet(dropout=0.3)
    reports = train(supernet, digits(), SETTINGS)
    return state(supernet), timeless(reports)


@pytest.mark.parametrize(
    "interruptions", [[(1, None)], [(2, None)], [(1, None), (2, None)], [(2, 3)], [(1, 2), (3, 5)]]
)
def test_resumed_trainings_end_bit_identically(
    interruptions: list[tuple[int, int | None]],
    uninterrupted: tuple[dict[str, torch.Tensor], list[dict[str, float]]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs" / "training.pt"
    for epoch, step in interruptions:
        observer = {"observer" if step is None else "step_observer": interrupt_after(epoch, step)}
        # Where there is a checkpoint, the initial weights must not matter.
        interrupted = small_supernet(7 if path.exists() else 0, dropout=0.3)
        with pytest.raises(Interrupted):
            train(interrupted, digits(), SETTINGS, checkpoint=path, **observer)
        assert not interrupted.training
    supernet = small_supernet(9 if path.exists() else 0, dropout=0.3)
    reports = train(supernet, digits(), SETTINGS, checkpoint=path)
    assert same(state(supernet), uninterrupted[0])
    assert timeless(reports) == uninterrupted[1]
    assert os.listdir(path.parent) == ["training.pt"]


def test_momentum_is_resumed(tmp_path: Path) -> None:
    """Without it the result would differ, so the test above would notice."""
    path = tmp_path / "training.pt"
    with pytest.raises(Interrupted):
        train(small_supernet(), digits(), SETTINGS, checkpoint=path, observer=interrupt_after(1))
    content = torch.load(path, weights_only=True)
    momenta = [entry["momentum_buffer"] for entry in content["optimizer"]["state"].values()]
    assert momenta
    assert all(momentum.any() for momentum in momenta)
    resumed, forgetful = small_supernet(), small_supernet()
    train(resumed, digits(), SETTINGS, checkpoint=path)
    content["optimizer"]["state"] = {}
    torch.save(content, path)
    train(forgetful, digits(), SETTINGS, checkpoint=path)
    assert not same(state(resumed), state(forgetful))


def test_a_finished_training_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    supernet = small_supernet()
    reports = train(supernet, digits(), SETTINGS, checkpoint=path)
    content = path.read_bytes()
    again, seen = small_supernet(1), []
    assert train(again, digits(), SETTINGS, checkpoint=path, observer=seen.append) == reports
    assert same(state(again), state(supernet))
    assert not seen
    assert not again.training
    assert path.read_bytes() == content
    other = small_supernet(2)
    load(other, path)
    assert same(state(other), state(supernet))


def finished(path: Path) -> None:
    train(small_supernet(), digits(), with_settings(epochs=1), checkpoint=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, "epochs 1 instead of 2"),
        ({"seed": 5}, "seed 3 instead of 5"),
        ({"learning_rate": 0.2, "momentum": 0.8}, r"learning_rate 0\.1 .* momentum 0\.9 instead"),
        ({"schedule": "cosine"}, "schedule 'linear' instead of 'cosine'"),
    ],
)
def test_other_settings(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    content, supernet = path.read_bytes(), small_supernet(1)
    before = state(supernet)
    with pytest.raises(InputError, match=message):
        train(supernet, digits(), with_settings(**({"epochs": 1} | changes)), checkpoint=path)
    assert same(state(supernet), before)
    assert path.read_bytes() == content


def test_other_images_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    with pytest.raises(InputError, match="images 200 instead of 150"):
        train(small_supernet(), digits(150), with_settings(epochs=1), checkpoint=path)
    supernet = small_supernet()
    paths = LegalPaths(supernet.space, resolve_limits(FLOPs(at_most=1e9), supernet))
    with pytest.raises(InputError, match="paths 'UniformPaths' instead of 'LegalPaths"):
        train(supernet, digits(), with_settings(epochs=1), paths=paths, checkpoint=path)


def score(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    return -losses, losses


def scaled(factor: float) -> PerSample:
    """Tasks whose functions have one name."""

    def function(outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        values, losses = score(outputs, targets)
        return values, factor * losses

    return PerSample(function)


def test_another_loss_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    once = {"settings": with_settings(epochs=1), "checkpoint": path}
    reports = train(small_supernet(), digits(), task=scaled(1.0), **once)
    assert train(small_supernet(), digits(), task=scaled(1.0), **once) == reports
    with pytest.raises(InputError, match=r"task .* instead of"):
        train(small_supernet(), digits(), task=scaled(2.0), **once)


def measured(measure: Any) -> PerSample:
    """Tasks that differ in a function that they hold."""

    def function(outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        losses = measure(outputs[:, 0])
        return losses, losses

    return PerSample(function)


def test_another_function_of_c(tmp_path: Path) -> None:
    once = {"settings": with_settings(epochs=1), "checkpoint": tmp_path / "training.pt"}
    train(small_supernet(), digits(), task=measured(torch.Tensor.abs), **once)
    with pytest.raises(InputError, match=r"task .* instead of"):
        train(small_supernet(), digits(), task=measured(torch.Tensor.square), **once)


def test_a_task_that_cannot_be_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once = {"settings": with_settings(epochs=1), "checkpoint": tmp_path / "training.pt"}
    with caplog.at_level("WARNING", logger="raynas"):
        train(small_supernet(), digits(), task=measured(lambda x: eval("x.abs()")), **once)
    assert "task: what eval gives in" in caplog.text


def test_as_many_other_images(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    once = {"settings": with_settings(epochs=1), "checkpoint": path}
    images = digits()
    train(small_supernet(), images, **once)
    others = [
        replace(images, pixels=255 - images.pixels),
        replace(images, labels=(images.labels + 1) % 10),
    ]
    for other in others:
        with pytest.raises(InputError, match="digest of the images"):
            train(small_supernet(), other, **once)


@pytest.mark.parametrize("changed", ["pixel", "label", "pad", "flip"])
def test_arrays_that_differ_anywhere(changed: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    once = {"settings": with_settings(epochs=1), "checkpoint": path}
    pixels, labels = digits().pixels.copy(), digits().labels.copy()
    reports = train(small_supernet(), ArrayImages(pixels, labels), **once)
    assert train(small_supernet(), ArrayImages(pixels, labels), **once) == reports
    if changed in ("pixel", "label"):
        {"pixel": pixels.reshape(-1), "label": labels}[changed][-1] += 1
    more = {"pad": {"pad": 1}, "flip": {"flip": True}}.get(changed, {})
    with pytest.raises(InputError, match="digest of the images"):
        train(small_supernet(), ArrayImages(pixels, labels, **more), **once)


def test_other_modules_with_the_same_tensors(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    supernet = small_supernet(1)
    norm = next(m for m in supernet.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.eps *= 2
    before = state(supernet)
    with pytest.raises(InputError, match="digest of the modules"):
        train(supernet, digits(), with_settings(epochs=1), checkpoint=path)
    assert same(state(supernet), before)


def test_other_means_of_the_inputs(tmp_path: Path) -> None:
    """No checkpoint holds them: their buffers are not persistent."""
    path = tmp_path / "training.pt"
    finished(path)
    for changes in ({"mean": (0.1,)}, {"std": (0.9,)}):
        with pytest.raises(InputError, match="digest of the modules"):
            train(small_supernet(**changes), digits(), with_settings(epochs=1), checkpoint=path)


def test_other_parameters_that_are_trained(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    supernet = small_supernet()
    supernet.stem.requires_grad_(False)
    with pytest.raises(InputError, match=r"without a gradient None instead of '[0-9]+ parameters"):
        train(supernet, digits(), with_settings(epochs=1), checkpoint=path)


@dataclass(frozen=True)
class Several(PathSampler):
    """So many uniform paths a step."""

    space: SearchSpace
    paths: int

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        return tuple(self.space.sample(rng) for _ in range(self.paths))


def test_other_settings_of_a_sampler_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    once = {"settings": with_settings(epochs=1), "checkpoint": path}
    space = small_supernet().space
    train(small_supernet(), digits(), paths=Several(space, 2), **once)
    train(small_supernet(), digits(), paths=Several(space, 2), **once)
    with pytest.raises(InputError, match=r"paths 'Several\(paths=2\)' instead of"):
        train(small_supernet(), digits(), paths=Several(space, 3), **once)


def test_another_supernet(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    for changes in ({"head_channels": 16}, {"stages": ((16, 1, 2), (32, 1, 2))}):
        supernet = small_supernet(1, **changes)
        before = state(supernet)
        with pytest.raises(InputError, match="of this supernet"):
            train(supernet, digits(), with_settings(epochs=1), checkpoint=path)
        assert same(state(supernet), before)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "state dict", "terms", "optimizer"])
def test_damaged_checkpoints(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    finished(path)
    whole, content = path.read_bytes(), torch.load(path, weights_only=True)
    if damage in ("terms", "optimizer"):
        torch.save(content | {damage: "{"}, path)
    elif damage == "state dict":
        torch.save(content["model"], path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"x" * 50}[damage])
    supernet = small_supernet(1)
    before, damaged = state(supernet), path.read_bytes()
    with pytest.raises(InputError, match="checkpoint"):
        train(supernet, digits(), with_settings(epochs=1), checkpoint=path)
    assert same(state(supernet), before)
    assert path.read_bytes() == damaged


def test_weights_are_no_training_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save(small_supernet(), path)
    with pytest.raises(InputError, match="checkpoint"):
        train(small_supernet(), digits(), SETTINGS, checkpoint=path)


def test_compare() -> None:
    assert compare({"a": 1, "b": 2.0}, {"b": 2, "a": 1}) == []
    assert compare({"a": 1}, {"b": 2}) == ["a 1 instead of None", "b None instead of 2"]


def test_step_reports_are_values() -> None:
    seen: list[StepReport] = []
    train(small_supernet(), digits(40), with_settings(epochs=1), step_observer=seen.append)
    assert hash(seen[0]) == hash(seen[0])
