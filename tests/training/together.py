"""Trainings that torchrun runs in two processes; each writes what it saw to a file of its rank."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from small_training import (
    SETTINGS,
    Images,
    digits,
    few_digits,
    small_bottlenecks,
    small_supernet,
    state,
    with_settings,
)
from torch import Tensor, nn

import raynas
from raynas.commands.main import main
from raynas.commands.torchrun import joined
from raynas.population.path_filter import open_path_filter
from raynas.population.variant_scorer import open_variant_scorer
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.training import (
    EpochReport,
    FairPaths,
    GreedyPaths,
    GreedySettings,
    PathSampler,
    ProgressivePaths,
    ProgressiveSettings,
    StepReport,
    TrainingSettings,
    UniformPaths,
    train,
    train_progressively,
)

EXACT = with_settings(epochs=3, batch_size=40, clip=1.0)
"""Of the supernets whose samples do not see each other."""

DECAYING = with_settings(epochs=1, batch_size=20, weight_decay=0.1, momentum=0.9)

GREEDY = GreedySettings(
    sampled=4, kept=2, pool=4, warm_up=1, steps=15, window=2, tolerance=1.0, exploit=0.5
)

STEPS = (((0, 0, 0),), ((1, 1, 1), (2, 1, 0)), ((0, 2, 0),), ((1, 1, 1),), ((1, 1, 1),))
"""Paths of training steps; some choices are trained once and then left alone."""

AVERAGED = with_settings(optimizer="rmsprop", learning_rate=0.01, average=0.8)

COMMAND = ("train", "--data", "digits", "--supernet", "command_runs:tiny_supernet", "--epochs", "2",
           "--paths", "greedy", "--out", "new/supernet.st")  # fmt: skip


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


@dataclass
class Given(PathSampler):
    """Given paths, with the supernet's state before each step."""

    supernet: ChainSupernet
    before: list[dict[str, Tensor]] = field(default_factory=list)

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        self.before.append(state(self.supernet))
        return STEPS[len(self.before) - 1]


class Refusing(PathSampler):
    """Paths that must not be asked for."""

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        raise AssertionError

    @property
    def finished(self) -> bool:
        raise AssertionError


@dataclass(frozen=True)
class Exploding(Images):
    """Images during whose third batch a weight becomes infinite."""

    weight: Tensor

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step, batch in enumerate(super().batches(batch_size, seed=seed, epoch=epoch)):
            if step == 2:
                self.weight.detach().fill_(torch.inf)
            yield batch


def exact_supernet() -> ChainSupernet:
    """One without batch norm and dropout, whose gradients are means over samples."""

    def choice(kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(6, 6, kernel, padding=kernel // 2), nn.Tanh())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ChainSupernet(
            nn.Sequential(Normalize((0.3,), (0.4,)), nn.Conv2d(1, 6, 3, stride=2, padding=1)),
            [[choice(1), choice(3), nn.Sequential(choice(3), choice(1))] for _ in range(3)],
            nn.Sequential(nn.Flatten(), nn.Linear(6 * 16, 10)),
            image_shape=(1, 8, 8),
            num_classes=10,
        )


@contextmanager
def open_sampler(name: str, supernet: ChainSupernet) -> Iterator[PathSampler]:
    """A sampler by its name."""
    if name == "greedy":
        validation = raynas.data.digits(validation=40).validation
        with open_path_filter(supernet, validation, workers=0) as scorer:
            yield GreedyPaths(supernet.space, scorer, GREEDY)
    else:
        yield {"uniform": UniformPaths, "fair": FairPaths}[name](supernet.space)


def timeless(reports: list[EpochReport]) -> list[dict[str, float]]:
    """What the seed determines in the reports."""
    return [
        {k: v for k, v in asdict(r).items() if k not in ("seconds", "images_per_second")}
        for r in reports
    ]


def exact_training(name: str, *, first: bool = True) -> dict[str, Any]:
    """The end of a training whose result hardly depends on the number of processes."""
    supernet = exact_supernet()
    if not first:
        reports = train(supernet, digits(), EXACT, paths=Refusing())
        return {"state": state(supernet), "reports": timeless(reports)}
    with open_sampler(name, supernet) as paths:
        reports = train(supernet, digits(), EXACT, paths=paths)
    return {"state": state(supernet), "reports": timeless(reports)}


def whole_training(home: Path, rank: int) -> dict[str, Any]:
    """A training of other initial weights in each process, and with the checkpoint of process 0."""
    supernet = small_supernet(rank, dropout=0.3)
    epochs: list[EpochReport] = []
    steps: list[StepReport] = []
    options: dict[str, Any] = {"observer": epochs.append, "step_observer": steps.append}
    checkpoint = home / "whole.pt" if rank == 0 else None
    reports = train(supernet, digits(), SETTINGS, checkpoint=checkpoint, **options)
    again = small_supernet(5, dropout=0.3)
    read = train(again, digits(), SETTINGS, checkpoint=checkpoint)
    return {
        "state": state(supernet),
        "reports": [asdict(report) for report in reports],
        "observed": [asdict(report) for report in epochs],
        "steps": [(step.epoch, step.step) for step in steps],
        "read": (state(again), [asdict(report) for report in read]),
    }


def interrupted_training(
    home: Path, rank: int, settings: TrainingSettings = SETTINGS
) -> dict[str, Any]:
    """The same training, interrupted after an epoch, and resumed from other weights."""

    def interrupt(report: EpochReport) -> None:
        raise Interrupted

    path = home / f"interrupted-{settings.average}.pt"
    ended = error_of(
        lambda: train(
            small_supernet(0, dropout=0.3), digits(), settings, checkpoint=path, observer=interrupt
        )
    )
    supernet = small_supernet(7 + rank, dropout=0.3)
    reports = train(supernet, digits(), settings, checkpoint=path)
    return {"ended": ended, "state": state(supernet), "reports": timeless(reports)}


def progressive_training(home: Path, rank: int) -> dict[str, Any]:
    """A progressive training of other initial weights in each process, and what is read of it."""
    results: dict[str, Any] = {}
    settings = with_settings(epochs=1, warmup_epochs=0)
    for name in ("state", "read"):
        supernet = small_bottlenecks(rank, first=1)
        with open_variant_scorer(supernet, few_digits()) as scorer:
            tuning = ProgressiveSettings(block_epochs=1)
            paths = ProgressivePaths(supernet, scorer, tuning) if rank == 0 else None
            options: dict[str, Any] = {"checkpoint": home / "progressive.pt" if paths else None}
            reports = train_progressively(supernet, digits(64), settings, paths, **options)
        results |= {name: state(supernet), f"{name} reports": timeless(reports)}
        results[f"{name} table"] = paths.table() if paths else None
    return results


def random_numbers() -> list[float]:
    """The random numbers that a head draws in the steps of a training, as dropout does."""
    supernet, drawn = small_supernet(), []

    def draw(module: nn.Module, inputs: object) -> None:
        if module.training:
            drawn.append(float(torch.rand(1)))

    supernet.head.register_forward_pre_hook(draw)
    train(supernet, digits(), with_settings(epochs=1))
    return drawn


def given_training(home: Path, rank: int) -> dict[str, Any]:
    """A training on given paths."""
    supernet = exact_supernet()
    sampler = Given(supernet)
    train(supernet, digits(100), DECAYING, paths=sampler, checkpoint=home / "given.pt")
    names = [name for name, _ in supernet.named_parameters()]
    return {"before": sampler.before, "state": state(supernet), "names": names}


def error_of(function: Callable[[], object]) -> tuple[str, str]:
    """The kind and the text of the error that a function raises."""
    try:
        function()
    except Exception as error:
        return type(error).__name__, str(error)
    return "", "no error"


def refusals(home: Path, rank: int) -> dict[str, tuple[str, str]]:
    """Trainings that cannot be, and one that diverges in one of the processes only."""

    def refused(**options: Any) -> tuple[str, str]:
        arguments = {"images": digits(), "settings": SETTINGS} | options
        return error_of(lambda: train(small_supernet(), **arguments))

    def diverging() -> list[EpochReport]:
        supernet = small_supernet()
        weight = next(supernet.head.parameters()) if rank == 1 else torch.zeros(1)
        images = Exploding(digits().pixels, digits().labels, weight)
        return train(supernet, images, SETTINGS)

    (home / "damaged.pt").write_bytes(b"x" * 50)
    return {
        "alone": refused(checkpoint=home / "alone.pt"),
        "damaged": refused(checkpoint=home / "damaged.pt"),
        "batch_size": refused(settings=with_settings(batch_size=33)),
        "images": refused(images=digits(9)),
        "paths": refused(paths=Refusing()),
        "diverged": error_of(diverging),
    }


def run_command(home: Path) -> None:
    """Run `raynas train` twice, which trains once."""
    arguments = [str(home / word) if "/" in word else word for word in COMMAND]
    with mock.patch.object(sys, "argv", ["raynas", *arguments]):
        main()
        main()


def run_all(home: Path) -> None:
    """Run all trainings, and write what this process saw."""
    with joined() as processes:
        rank = processes.rank
        results = {
            "count": dist.get_world_size(),
            "whole": whole_training(home, rank),
            "interrupted": interrupted_training(home, rank),
            "averaged": interrupted_training(home, rank, AVERAGED),
            "random": random_numbers(),
            "progressive": progressive_training(home, rank),
            "given": given_training(home, rank),
            "refusals": refusals(home, rank),
        }
        for name in ("uniform", "fair", "greedy"):
            results[name] = exact_training(name, first=processes.first)
        run_command(home)
    torch.save(results, home / f"{rank}.pt")


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    run_all(Path(sys.argv[1]))
