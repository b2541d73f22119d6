"""The paths that a training updates, by name, with settings that suit its length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import raynas
from raynas.costs import AccuracyTable, flops_table
from raynas.errors import require
from raynas.training.greedy import GreedyPaths, GreedySettings
from raynas.training.paths import FairPaths, PathSampler, UniformConstraintPaths, UniformPaths
from raynas.training.progressive_paths import ProgressivePaths, ProgressiveSettings

PathsName = Literal["uniform", "uniform-constraint", "fair", "greedy", "progressive"]


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
    progressive: Mapping[str, Any] | None = None,
) -> Iterator[PathSampler]:
    """A sampler of the paths of a training.

    Args:
        name: uniform; uniform over ten bins of FLOPs; fair; greedy, whose filter scores
            validation samples; or progressive, which compare the choices of each block on them.
        supernet: to be trained.
        data: training samples, and those that greedy and progressive paths are scored on.
        settings: of the training.
        task: how paths are judged.
        workers: that score paths; 0 for this process.
        filter_samples: about how many validation samples it compares paths on; the paper's 1,000
            if omitted.
        greedy: settings of greedy paths that are not to suit the training's length by themselves.
        progressive: settings of progressive paths that are not the paper's.

    Raises:
        InputError: paths that the supernet or the data do not allow, or settings that they do not
            have.
    """
    space = supernet.space
    require_greedy(name, {**(greedy or {}), "filter_samples": filter_samples})
    require_progressive(name, progressive or {})
    if name == "uniform":
        yield UniformPaths(space)
    elif name == "uniform-constraint":
        yield UniformConstraintPaths(space, flops_table(supernet))
    elif name == "fair":
        yield FairPaths(space)
    elif name == "progressive":
        from raynas.population.variant_scorer import open_variant_scorer

        tuning = ProgressiveSettings(**(progressive or {}))
        with open_variant_scorer(supernet, data, workers=workers, task=task) as variants:
            yield ProgressivePaths(supernet, variants, tuning)
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
    require_own("greedy", name, options)


def require_progressive(name: PathsName, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for options of progressive paths that were given beside others."""
    require_own("progressive", name, options)


def require_own(owner: PathsName, name: PathsName, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for options of some paths that were given beside others."""
    for option, value in options.items():
        require(
            name == owner or value is None,
            option.replace("_", "-"),
            f"none beside {name} paths",
            value,
            f"Leave it out, or train with --paths {owner}.",
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


def progressive_summary(table: AccuracyTable) -> str:
    """A sentence on what a progressive training found."""
    best = " ".join(names[choice] for names, choice in zip(table.names, table.best, strict=True))
    return (
        f"best path {best}; shared prefixes saved {table.saved:.1%} of the {table.alone:,} block "
        "executions of its table"
    )
