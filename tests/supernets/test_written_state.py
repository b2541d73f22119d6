"""Weights and buffers that a training writes are left out of a digest; others belong to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_runs import closeness, linear_supernet, slopes
from identity_cases import CHANNELS, chain
from torch import Tensor, nn

import raynas
from raynas.costs.latency import space_digest
from raynas.errors import InputError
from raynas.supernets import ChainSupernet
from raynas.supernets.identity import untrained_digest
from raynas.training import TrainingSettings, train

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.1, device="cpu")


class Buffered(nn.Module):
    """Scales by a persistent buffer, and changes another where it is told to."""

    def __init__(self, scale: float, change: str = "") -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("seen", torch.zeros(CHANNELS))
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.change == "always":
            self.seen.lerp_(x.detach().mean((0, 2, 3)), 0.5)
        if self.training and self.change == "once" and not self.seen.any():
            self.seen += x.detach().abs().mean((0, 2, 3))
        return x * self.scale + self.seen.view(1, -1, 1, 1)


class Repeated(nn.Module):
    """Runs as often as a persistent buffer says."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.register_buffer("times", torch.tensor(times))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(self.times)):
            x = x.sigmoid()
        return x


def frozen(fill: float, *, norm: bool = False) -> ChainSupernet:
    """A chain with a layer whose weights have no gradient."""
    layer = nn.BatchNorm2d(CHANNELS).eval() if norm else nn.Conv2d(CHANNELS, CHANNELS, 1)
    supernet = chain(layer.requires_grad_(False))
    with torch.no_grad():
        (layer.running_mean if norm else layer.weight).fill_(fill)  # type: ignore[union-attr, operator]
    return supernet


OTHERS: dict[str, tuple[Callable[[float], ChainSupernet], tuple[str, ...]]] = {
    "buffer": (lambda value: chain(Buffered(value)), ("training", "fresh start", "any training")),
    "repeats": (lambda value: chain(Repeated(int(value))), ("any training",)),
    "frozen weights": (frozen, ("training", "fresh start")),
    "statistics of a frozen norm": (lambda value: frozen(value, norm=True), ("fresh start",)),
}


@pytest.mark.parametrize(
    ("name", "writer"), [(name, writer) for name, (_, kept) in OTHERS.items() for writer in kept]
)
def test_what_is_not_written_belongs_to_the_network(name: str, writer: Any) -> None:
    make = OTHERS[name][0]
    one, same, other = (untrained_digest(make(value), writer) for value in (1.0, 1.0, 3.0))
    assert one == same != other


def trained(supernet: ChainSupernet) -> ChainSupernet:
    """The supernet with other weights and statistics, after some passes in training mode."""
    supernet.train()
    with torch.no_grad():
        for _ in range(3):
            for architecture in supernet.space.enumerate():
                supernet(torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8), architecture)
        for parameter in supernet.parameters():
            if parameter.requires_grad:
                parameter += 1.0
    return supernet.eval()


@pytest.mark.parametrize("change", ["", "always", "once"])
def test_what_a_training_writes_is_left_out(change: str) -> None:
    makers = [
        lambda: chain(Buffered(2.0, change), nn.BatchNorm2d(CHANNELS)),
        lambda: chain(Buffered(2.0, change), nn.BatchNorm2d(CHANNELS).requires_grad_(False)),
        lambda: chain(Buffered(2.0, change), nn.InstanceNorm2d(CHANNELS, track_running_stats=True)),
    ]
    for make in makers:
        begun, ended = make(), trained(make())
        assert untrained_digest(begun) == untrained_digest(ended)
        assert space_digest(begun) == space_digest(ended)


def test_a_latency_does_not_depend_on_which_weights_are_frozen() -> None:
    supernet = chain(nn.Conv2d(CHANNELS, CHANNELS, 1))
    begun = space_digest(supernet)
    assert space_digest(trained(supernet).requires_grad_(False)) == begun


def regression(scale: float) -> ChainSupernet:
    """A supernet whose stem has a frozen layer."""
    supernet = linear_supernet()
    with torch.no_grad():
        for parameter in supernet.stem.parameters():
            parameter.fill_(scale)
    supernet.stem.requires_grad_(False)
    return supernet


def test_no_training_goes_on_with_other_frozen_weights(tmp_path: Path) -> None:
    images: Any = slopes().train
    file, task = tmp_path / "training.pt", closeness()
    train(regression(0.1), images, SETTINGS, task=task, checkpoint=file)
    train(regression(0.1), images, SETTINGS, task=task, checkpoint=file)
    other = regression(0.7)
    with pytest.raises(InputError, match="digest of the modules"):
        train(other, images, SETTINGS, task=task, checkpoint=file)
    assert (other.stem.weight == 0.7).all()  # type: ignore[union-attr]


def test_no_retraining_is_read_back_for_other_frozen_weights(tmp_path: Path) -> None:
    data, task = slopes(), closeness()
    one = raynas.retrain(regression(0.1), data, (1, 2), SETTINGS, tmp_path, task=task)
    again = raynas.retrain(regression(0.1), data, (1, 2), SETTINGS, tmp_path, task=task)
    assert again.best == one.best
    with pytest.raises(InputError, match=r"out: .*network: [0-9a-f]{32} there"):
        raynas.retrain(regression(0.7), data, (1, 2), SETTINGS, tmp_path, task=task)
