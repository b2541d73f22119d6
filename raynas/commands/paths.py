"""The paths that a training updates, by name, with settings that suit its length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import raynas
from raynas.costs import flops_table
from raynas.errors import InputError, require
from raynas.files import dumps, replace_bytes, writing
from raynas.space import Architecture
from raynas.training.greedy import GreedyPaths, GreedySettings
from raynas.training.paths import FairPaths, PathSampler, UniformConstraintPaths, UniformPaths

PathsName = Literal["uniform", "uniform-constraint", "fair", "greedy"]

WARM_UP = 10
"""The steps of a training for each step of warm-up, where the paper's 10,000 would be more."""


@contextmanager
def open_paths(
    name: PathsName,
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    *,
    task: raynas.Task | None = None,
    workers: int | None = 0,
    filter_samples: int | None = None,
) -> Iterator[PathSampler]:
    """A sampler of the paths of a training.

    Args:
        name: uniform; uniform over ten bins of FLOPs; fair; or greedy, whose filter scores
            validation samples.
        supernet: to be trained.
        data: training samples, and validation samples for the filter.
        settings: of the training.
        task: how the filter judges.
        workers: of the filter; 0 for this process.
        filter_samples: about how many validation samples it compares paths on; the paper's 1,000
            if omitted.

    Raises:
        InputError: paths that the supernet or the data do not allow.
    """
    space = supernet.space
    if name == "uniform":
        yield UniformPaths(space)
    elif name == "uniform-constraint":
        yield UniformConstraintPaths(space, flops_table(supernet))
    elif name == "fair":
        yield FairPaths(space)
    else:
        from raynas.population.path_filter import SAMPLES, open_path_filter

        require(
            len(data.validation) > 0,
            "paths",
            "validation samples that greedy paths are compared on",
            f"none in {data.name}",
            "Split some off, or train with uniform paths.",
        )
        samples = SAMPLES if filter_samples is None else filter_samples
        with open_path_filter(
            supernet, data.validation, workers=workers, task=task, samples=samples
        ) as scorer:
            yield GreedyPaths(space, scorer, greedy_settings(supernet, data, settings))


def greedy_settings(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
) -> GreedySettings:
    """The paper's settings, shortened to a training of so many epochs."""
    images = 0 if data.train is None else len(data.train)
    an_epoch = max(1, images // settings.batch_size)
    steps = settings.epochs * an_epoch
    paper = GreedySettings()
    return GreedySettings(
        pool=min(paper.pool, supernet.space.count()),
        warm_up=min(paper.warm_up, steps // WARM_UP),
        steps=steps,
        window=an_epoch,
    )


def pool_of(weights: Path) -> Path:
    """The file beside the weights that holds the pool of a greedy training."""
    return weights.with_name(f"{weights.name}.pool.json")


def write_pool(weights: Path, paths: GreedyPaths) -> None:
    """Write the pool of a greedy training beside its weights, the smallest loss first."""
    target = pool_of(weights)
    with writing("out", target):
        replace_bytes(target, dumps(paths.pool.to_json()).encode())


def read_pool(file: Path) -> tuple[Architecture, ...]:
    """The paths of a pool, the smallest loss first.

    Raises:
        InputError: no such file, or one of something else.
    """
    try:
        return tuple(tuple(map(int, path)) for path, _ in json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "initial",
            "the pool that a greedy training wrote beside its weights",
            f"{file} ({error.strerror if isinstance(error, OSError) else repr(error)})",
            "Train with --paths greedy, or leave it out.",
        ) from error
