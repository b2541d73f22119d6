"""Several searches of one supernet side by side: the columns of the paper's Table 1."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final

from rich.table import Table

import raynas
from raynas.commands import supernet_training, terminal, workflow
from raynas.commands.families import freezing_of
from raynas.commands.named_strategies import StrategyName, choose_strategy
from raynas.commands.options import given
from raynas.commands.paths import PathsName
from raynas.commands.run_options import MeteringOptions
from raynas.errors import require
from raynas.files import Record
from raynas.runlog import require_usable

if TYPE_CHECKING:
    from raynas.evolution import Strategy

BASELINE = "ea"
"""The strategy that the others are compared with."""

LABELS: Mapping[str, str] = {"ea": "EA", "random": "random", "cf": "CF-ES", "pcf": "PCF-ES",
                             "nsga2": "NSGA-II"}  # fmt: skip


COSTS: Mapping[str, str] = {"GPU hours": "gpu_hours", "joules": "energy_j", "g CO2": "co2_g"}
"""Columns of the table that are there where something is known of them, and their keys."""


@final
@dataclass(frozen=True)
class ComparisonOptions:
    """The searches that are compared.

    Args:
        strategies: ea (SPOS), random, cf (CF-ES) and pcf (PCF-ES).
        seeds: of the searches; each strategy searches with each.
        generations: of each search.
        population: architectures per generation.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        run_dir: the folder of the records; a finished search in it is not searched again, an
            interrupted one goes on.
        metering: what their price is told in.
    """

    strategies: tuple[StrategyName, ...] = ("ea", "cf", "pcf")
    seeds: tuple[int, ...] = (0,)
    generations: int = 20
    population: int = 50
    workers: int | None = None
    run_dir: Path | None = None
    metering: MeteringOptions = field(default_factory=MeteringOptions)

    def __post_init__(self) -> None:
        for name in ("strategies", "seeds"):
            values = getattr(self, name)
            require(
                len(set(values)) == len(values) > 0,
                name,
                "at least one, each once",
                " ".join(map(str, values)) or "none",
                "Name each once.",
            )

    def chosen(self, supernet: raynas.ChainSupernet) -> dict[str, Strategy]:
        """The strategies, with the thresholds of the PCF-ES paper for this supernet.

        Raises:
            InputError: a setting out of range.
        """
        options = SimpleNamespace(generations=self.generations, population=self.population)
        freezing = freezing_of(supernet)
        return {name: choose_strategy(name, options, freezing) for name in self.strategies}


def train_and_compare(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
    options: ComparisonOptions,
    *,
    paths: PathsName = "uniform",
    filter_samples: int | None = None,
    constraint: raynas.Constraint | None = None,
) -> list[Record]:
    """Train a supernet unless its weights are there, search it in several ways, print the table.

    What a search would refuse is found before the training.

    Args:
        supernet: as it is built.
        data: to train and to search on.
        settings: of the training.
        weights: the file to read or to write.
        options: of the searches.
        paths: of the training.
        filter_samples: about how many validation samples greedy paths are compared on.
        constraint: of the searches.

    Raises:
        InputError: as the training, or a search.
    """
    home = options.run_dir or weights.parent
    strategies = options.chosen(supernet)
    metering = given(raynas.Metering, options.metering)
    check_searches(supernet, data, strategies, home, options, constraint)
    supernet_training.train_or_load(
        supernet, data, settings, weights,
        paths=paths, workers=options.workers, filter_samples=filter_samples,
    )  # fmt: skip
    return compare(
        supernet, data, strategies, home,
        seeds=options.seeds, workers=options.workers, constraint=constraint, metering=metering,
    )  # fmt: skip


def check_searches(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategies: Mapping[str, Strategy],
    directory: Path,
    options: ComparisonOptions,
    constraint: raynas.Constraint | None,
) -> None:
    """Find what a search would refuse, before the supernet is trained.

    Args:
        supernet, data, strategies, directory, constraint: as those of `compare`.
        options: of the searches.

    Raises:
        InputError: as `raynas.check_search`, of any of the directories.
    """
    for name in strategies:
        for seed in options.seeds:
            require_usable(directory / f"{name}-seed{seed}", resume=True)
    # What one search refuses of supernet, data and limits, all of them would.
    name, strategy = next(iter(strategies.items()))
    raynas.check_search(
        supernet, data, strategy=strategy, constraint=constraint, seed=options.seeds[0],
        run_dir=directory / f"{name}-seed{options.seeds[0]}", workers=options.workers, resume=True,
    )  # fmt: skip


def compare(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategies: Mapping[str, Strategy],
    directory: Path,
    *,
    seeds: Sequence[int],
    workers: int | None = None,
    **options: Any,
) -> list[Record]:
    """Search with every strategy and seed, and print a table of what each found, and how fast.

    Args:
        supernet: that is trained.
        data: on which it is searched.
        strategies: by their names on a command line.
        directory: receives the records of each search, in a folder named after it.
        seeds: of the searches.
        workers: as those of `raynas.search`.
        options: others of `raynas.search`.

    Returns:
        The content of each `result.json`, with the strategy's name under `"name"`.

    Raises:
        InputError: as `raynas.search`.
    """
    screen = terminal.make_console()
    rows: list[Record] = []
    run_dirs: list[Path] = []
    for seed in seeds:
        for name, strategy in strategies.items():
            run_dir = directory / f"{name}-seed{seed}"
            screen.print(f"{LABELS[name]}, seed {seed}: {run_dir}", soft_wrap=True)
            result = workflow.search_with_progress(
                screen, supernet, data, strategy, run_dir,
                seed=seed, workers=workers, resume=True, **options,
            )  # fmt: skip
            run_dirs.append(run_dir)
            rows.append({"name": name, "settings": strategy.settings(), **result.record})
    screen.print(comparison_table(rows))
    workflow.report_runs(screen, run_dirs, directory / workflow.REPORT)
    return rows


def comparison_table(rows: Sequence[Record], ratios: Sequence[str] = ("seconds",)) -> Table:
    """A row per strategy, means over its seeds.

    Args:
        rows: the content of `result.json`, each with `"name"` and `"settings"` of its strategy.
        ratios: the keys whose value for EA, divided by the strategy's with the same seed, is shown
            as median and range; where EA was not searched there are none.

    Energy that is estimated from a stated power has a `~` before it, and `≥` where some device that
    worked is not in it.
    """
    seeds = sorted({row["seed"] for row in rows})
    costs = {
        title: key for title, key in COSTS.items() if any(row.get(key) is not None for row in rows)
    }
    table = Table(title=f"Means over seeds {' '.join(map(str, seeds))}; ratios: median (range)")
    shown = (
        "strategy",
        "T",
        "monitor",
        "val top-1",
        "test top-1",
        "MFLOPs",
        "evaluated",
        "seconds",
        *costs,
    )
    for column in (*shown, *(f"{key}: EA / this" for key in ratios)):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        settings = own[0]["settings"]
        tested = [row["test_top1"] for row in own if row["test_top1"] is not None]
        table.add_row(
            LABELS[name],
            str(settings.get("threshold", "")),
            str(settings.get("monitor", "")),
            terminal.share(mean(own, "top1")),
            terminal.share(statistics.fmean(tested) if tested else None),
            f"{mean(own, 'flops') / 1e6:.3f}",
            f"{mean(own, 'evaluations'):.0f}",
            f"{mean(own, 'seconds'):.1f}",
            *(cost(own, key) for key in costs.values()),
            *(ratio(rows, own, key) for key in ratios),
        )
    return table


def cost(rows: Sequence[Record], key: str) -> str:
    """The mean of a cost, marked where it is estimated; empty where it is not known of all rows."""
    values = [row.get(key) for row in rows]
    if None in values:
        return ""
    energy = key != "gpu_hours"
    estimated = energy and any(row["energy_source"] == "estimated" for row in rows)
    incomplete = energy and any(row.get("energy_missing") for row in rows)
    return f"{'≥' * incomplete}{'~' * estimated}{mean(rows, key):,.4g}"


def mean(rows: Sequence[Record], key: str) -> float:
    """The mean of one value over rows."""
    return statistics.fmean(row[key] for row in rows)


def ratio(every: Sequence[Record], rows: Sequence[Record], key: str) -> str:
    """EA's value over the strategy's, seed by seed: median, minimum and maximum."""
    baseline = {row["seed"]: row[key] for row in every if row["name"] == BASELINE}
    values = [baseline[row["seed"]] / row[key] for row in rows if row["seed"] in baseline]
    return median_and_range(values) if values else ""


def median_and_range(values: Sequence[float], digits: int = 2) -> str:
    """Median, minimum and maximum in words, with so many decimals."""
    numbers = (statistics.median(values), min(values), max(values))
    middle, least, most = (f"{number:.{digits}f}" for number in numbers)
    return f"{middle} ({least}-{most})"
