"""Supernets trained on several kinds of paths at an equal cost, each trained once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import raynas
from common.progressive import Stages, run_progressively
from common.subjects import System
from raynas.commands.families import build_family
from raynas.costs import flops_table
from raynas.data.splits import SearchData, TrainingImages
from raynas.evaluation.settings import Evaluation
from raynas.files import Record, dumps, read_json, replace_bytes
from raynas.population.path_filter import open_path_filter
from raynas.supernets import ChainSupernet, load, save
from raynas.training import (
    FairPaths,
    GreedyPaths,
    GreedySettings,
    PathSampler,
    UniformConstraintPaths,
    UniformPaths,
    presets,
    train,
)
from raynas.training.greedy import PathScorer

EVALUATION = 1 / 3.33
"""The cost of evaluating an image, over that of training on it (GreedyNAS, section 5.1)."""

PARTS = 12
"""The parts of an epoch after which a training may end."""


@dataclass(frozen=True)
class Plan:
    """The size of everything.

    Args:
        epochs: of uniform paths, whose cost each training may have.
        samples: images that the filter compares paths on.
        generations: of each search.
        paths: random paths whose orders are compared.
        pool: the most paths of a pool.
        home: the folder of what is kept.
        data: the folder with the four idx files of Fashion-MNIST; Debian's if omitted.
        quick: the digits, and less of everything.
        system: the paper's supernet; all blocks of one have equally many choices, as fair paths
            need it.
    """

    epochs: int = 12
    samples: int = 100
    generations: int = 20
    paths: int = 200
    pool: int = 1_000
    home: Path = Path("runs/training_paths")
    data: Path | None = None
    quick: bool = False
    system: System = "fairnas"

    def folder(self, seed: int) -> Path:
        """The folder of the supernets of one seed."""
        system = "" if self.system == Plan.system else self.system
        return self.home / system / f"seed{seed}"

    def sized(self) -> Plan:
        """The plan itself, or its quick version."""
        if not self.quick:
            return self
        home = self.home / "quick"
        return replace(self, epochs=2, samples=50, generations=3, paths=20, pool=20, home=home)

    def images(self) -> SearchData:
        """The data: 500 images for calibration and 5,000 for validation, or of the digits fewer."""
        if self.quick:
            return raynas.data.digits(calibration=100, validation=300, shard_size=50)
        return raynas.data.fashion_mnist(
            self.data, calibration=500, validation=5_000, shard_size=100
        )


@dataclass(frozen=True)
class Paths:
    """One way to train, and to begin the search.

    Args:
        kind: uniform, uniform-constraint, fair, filtered, or progressive (PONAS).
        filtering: of filtered ones, whether only the best k of m are trained, or all of k.
        pool: whether paths are drawn from the pool as well.
        stopping: whether the training may stop by the pool.
        initial: whether the search begins with the pool.
    """

    kind: str
    filtering: bool = False
    pool: bool = False
    stopping: bool = False
    initial: bool = False

    @property
    def training(self) -> str:
        """The name of the training, which rows that differ in the search alone share."""
        flags = {"best": self.filtering, "pool": self.pool, "stop": self.stopping}
        return "-".join([self.kind, *(name for name, on in flags.items() if on)])

    @property
    def sampled(self) -> int:
        """The paths that are scored at a time; those that are trained if none is filtered out."""
        return GreedySettings.sampled if self.filtering else GreedySettings.kept

    def step_cost(self, choices: int, samples: int, batch: int) -> float:
        """The images that a step costs, of a training with a warm-up of a tenth."""
        if self.kind != "filtered":
            return batch * (choices if self.kind == "fair" else 1)
        scored = self.sampled * samples / GreedySettings.kept
        return batch + 0.9 * scored * EVALUATION

    def sampler(
        self, supernet: ChainSupernet, scorer: PathScorer | None, steps: int, pool: int
    ) -> PathSampler:
        """The paths of a training of so many steps."""
        space = supernet.space
        if self.kind == "uniform":
            return UniformPaths(space)
        if self.kind == "uniform-constraint":
            return UniformConstraintPaths(space, flops_table(supernet))
        if self.kind == "fair":
            return FairPaths(space)
        settings = GreedySettings(
            sampled=self.sampled,
            pool=pool if self.pool or self.initial or self.stopping else 0,
            exploit=GreedySettings.exploit if self.pool else 0.0,
            steps=steps,
            warm_up=steps // 10,
            window=max(1, steps // 20),
            tolerance=GreedySettings.tolerance if self.stopping else None,
        )
        assert scorer is not None
        return GreedyPaths(space, scorer, settings)


class Parts:
    """Training samples (a `TrainingImages`) whose epochs are parts of those of others."""

    def __init__(self, images: TrainingImages, batch: int) -> None:
        self._images = images
        self._batches = len(images) // batch // PARTS
        self._batch = batch

    def __len__(self) -> int:
        """The number of samples of a part."""
        return self._batches * self._batch

    def batches(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One part of an epoch."""
        whole, part = divmod(epoch, PARTS)
        batches = self._images.batches(batch_size, seed=seed, epoch=whole)
        for number, batch in enumerate(batches):
            if number // self._batches == part:
                yield batch
            elif number // self._batches > part:
                return


def trained(
    plan: Plan, paths: Paths, seed: int, images: SearchData
) -> tuple[ChainSupernet, Record]:
    """A supernet, trained unless it is kept, and what its training did."""
    torch.manual_seed(seed)
    supernet = build_family(plan.system, images)
    folder = plan.folder(seed) / paths.training
    record = kept(folder / "training.json", lambda: run(plan, paths, seed, images, supernet))
    load(supernet, folder / "supernet.safetensors")
    return supernet, record


def run(plan: Plan, paths: Paths, seed: int, images: SearchData, supernet: ChainSupernet) -> Record:
    """Train, and save the supernet."""
    folder = plan.folder(seed) / paths.training
    folder.mkdir(parents=True, exist_ok=True)
    way = run_stages if paths.kind == "progressive" else run_paths
    row = way(plan, paths, seed, images, supernet, folder / "training.pt")
    save(supernet, folder / "supernet.safetensors")
    (folder / "training.pt").unlink()
    return {"training": paths.training, **row}


def run_stages(
    plan: Plan, paths: Paths, seed: int, images: SearchData, supernet: ChainSupernet,
    checkpoint: Path,
) -> Record:  # fmt: skip
    """Train the largest path, then block by block."""
    assert images.train is not None
    preset = presets.FASHION_MNIST_PROGRESSIVE
    settings = replace(preset, batch_size=16 if plan.quick else preset.batch_size, seed=seed)
    whole = len(images.train) // settings.batch_size * settings.batch_size
    stages = Stages(
        plan.epochs * whole, whole, 100 if plan.quick else 1_000, EVALUATION, supernet.space.choices
    )
    return run_progressively(supernet, images, settings, stages, checkpoint)


def run_paths(
    plan: Plan, paths: Paths, seed: int, images: SearchData, supernet: ChainSupernet,
    checkpoint: Path,
) -> Record:  # fmt: skip
    """Train on sampled paths."""
    assert images.train is not None
    preset = replace(presets.DIGITS, batch_size=16) if plan.quick else presets.FASHION_MNIST
    parts = Parts(images.train, preset.batch_size)
    steps = len(parts) // preset.batch_size
    budget = plan.epochs * PARTS * len(parts)
    each = paths.step_cost(supernet.space.choices[0], plan.samples, preset.batch_size)
    epochs = int(budget / (each * steps))
    # The gradients of all fair paths of a step are summed.
    rate = preset.learning_rate / (3 if paths.kind == "fair" else 1)
    settings = replace(
        preset, epochs=epochs, warmup_epochs=epochs / 20, seed=seed, learning_rate=rate
    )
    with scoring(plan, paths, supernet, images) as scorer:
        sampler = paths.sampler(supernet, scorer, epochs * steps, plan.pool)
        reports = train(supernet, parts, settings, paths=sampler, checkpoint=checkpoint)
    done = len(reports) * steps
    evaluated = getattr(sampler, "evaluations", 0) * plan.samples
    per_step = preset.batch_size * (supernet.space.choices[0] if paths.kind == "fair" else 1)
    return {
        "steps": done,
        "planned": epochs * steps,
        "optimized": done * per_step,
        "evaluated": evaluated,
        "cost": done * per_step + evaluated * EVALUATION,
        "budget": budget,
        "seconds": sum(report.seconds for report in reports),
        "pool": [list(path) for path in sampler.pool] if isinstance(sampler, GreedyPaths) else [],
    }


@contextmanager
def scoring(plan: Plan, paths: Paths, supernet: ChainSupernet, images: SearchData) -> Iterator[Any]:
    """The filter of a training, in this process; `None` where none is needed."""
    if paths.kind != "filtered":
        yield None
        return
    evaluation = Evaluation(batch_norm="inherit")
    with open_path_filter(
        supernet, images.validation, samples=plan.samples, evaluation=evaluation
    ) as found:
        yield found


def kept(file: Path, measure: Callable[[], Record]) -> Record:
    """The row of a file; measured, and written to it, if it is not there."""
    if not file.exists():
        row = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(file, dumps(row).encode())
    return read_json(file)
