"""The paths that a training updates, by name, with settings that suit its length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import raynas
from raynas.costs import flops_table
from raynas.errors import require
from raynas.training.greedy import GreedyPaths, GreedySettings
from raynas.training.paths import FairPaths, PathSampler, UniformConstraintPaths, UniformPaths

PathsName = Literal["uniform", "uniform-constraint", "fair", "greedy"]


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
    greedy: Mapping[str, Any] | None = None,
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
        greedy: settings of greedy paths that are not to suit the training's length by themselves.

    Raises:
        InputError: paths that the supernet or the data do not allow, or settings that they do not
            have.
    """
    space = supernet.space
    require_greedy(name, {**(greedy or {}), "filter_samples": filter_samples})
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
            yield GreedyPaths(space, scorer, greedy_settings(supernet, data, settings, greedy))


def greedy_settings(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    changes: Mapping[str, Any] | None = None,
) -> GreedySettings:
    """The paper's settings, shortened to a training of so many epochs, with some changes."""
    an_epoch = settings.steps_of_epoch(0 if data.train is None else len(data.train))
    steps = settings.epochs * an_epoch
    return GreedySettings.for_steps(
        steps, supernet.space, **{"window": an_epoch, **(changes or {})}
    )


def require_greedy(name: PathsName, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for options of greedy paths that were given beside others."""
    for option, value in options.items():
        require(
            name == "greedy" or value is None,
            option.replace("_", "-"),
            f"none beside {name} paths",
            value,
            "Leave it out, or train with --paths greedy.",
        )


def greedy_summary(paths: GreedyPaths, epochs: int, planned: int) -> str:
    """A sentence on what a greedy training did.

    Args:
        paths: of the training.
        epochs: that it took.
        planned: the epochs of its settings.
    """
    early = f"; the pool is steady: {planned - epochs} epochs were not needed"
    return f"{paths.evaluations:,} paths were compared, {len(paths.pool):,} are in the pool" + (
        early if paths.finished and epochs < planned else ""
    )
