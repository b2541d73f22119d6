"""Supernets whose blocks raise, wait or kill the process that runs them.

A block that can do harm has a folder of tokens: each harm takes one away, so that a test decides
how often it happens, and in which process does not matter.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from random_chains import CLASSES, Scene, random_shards
from torch import Tensor, nn

from raynas.supernets import ChainSupernet, Normalize

CHECKED = 2
"""The samples on which an evaluator tries each node before it uses it."""


class Trouble(RuntimeError):
    """What a troubled block raises."""


def spend(folder: Path) -> bool:
    """Take a token away, if there is one."""
    for token in sorted(folder.glob("token-*")):
        try:
            token.unlink()
        except FileNotFoundError:
            continue
        return True
    return False


def place(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"token-{number}").touch()


class Harmless(nn.Module):
    """Passes its input on; the others add to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


class Raises(Harmless):
    def forward(self, x: Tensor) -> Tensor:
        if spend(self.folder):
            raise Trouble("a block in trouble", 3)
        return super().forward(x)


class Crashes(Harmless):
    """Notes how many samples it got, and kills its process for a token; trials apart."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == CHECKED:
            return super().forward(x)
        with (self.folder / "log").open("a") as log:
            log.write(f"{len(x)}\n")
        if spend(self.folder):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Waits(Harmless):
    """Notes that it runs; a token makes it wait until there is a file "go"."""

    def forward(self, x: Tensor) -> Tensor:
        if spend(self.folder):
            (self.folder / "waiting").touch()
            wait_for(self.folder / "go")
        return super().forward(x)


class CrashesOnLoad(Harmless):
    """Kills another process that unpacks it; a copy in the one that made it is harmless."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.home = os.getpid()

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if os.getpid() != self.home and spend(self.folder):
            os._exit(1)


def wait_for(path: Path) -> None:
    """Wait until a file appears; the test's own limit ends a wait in vain."""
    while not path.exists():
        time.sleep(0.01)


def troubled(folder: Path, *kinds: type[Harmless], size: int = 7) -> Scene:
    """Three blocks; those of the kinds are choices 1, 2, … of the second one.

    Args:
        folder: gets a folder of tokens for each kind, under its name.
        kinds: what the blocks do.
        size: of the square images.
    """
    folders = [folder / kind.__name__ for kind in kinds]
    for path in folders:
        path.mkdir()

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(6, 6, kernel, padding=kernel // 2), nn.BatchNorm2d(6))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 6, 3))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
        trouble = [kind(path) for kind, path in zip(kinds, folders, strict=True)]
        blocks = [[conv(1), conv(3)], [conv(1), *trouble], [conv(1), conv(3)]]
        supernet = ChainSupernet(
            stem, blocks, head, image_shape=(1, size, size), num_classes=CLASSES
        ).eval()
    calibration = random_shards(supernet, "calibration", 20, 4, seed=1)
    return Scene(supernet, calibration, random_shards(supernet, "validation", 30, 6, seed=2), 0)
