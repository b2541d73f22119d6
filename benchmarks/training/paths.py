"""Which paths is a supernet best trained on, at an equal cost?

Question: on Fashion-MNIST, do paths that are uniform over bins of FLOPs (SPOS), fair (FairNAS) or
greedy (GreedyNAS) give a better supernet than uniform ones for the same work? What do the filter
and the pool contribute (GreedyNAS, Table 4, Net1 to Net6)?

Protocol: the 12 blocks of 6 choices of `fairnas_28x28`, the one space that all four kinds of paths
have. A training costs its images, once for each path that sees them, and 1/3.33 of each image that
the filter evaluates (GreedyNAS, section 5.1). Each gets the steps that the cost of `--epochs`
epochs of uniform paths pays for, rounded down to a twelfth of an epoch, and its learning rate falls
over these; those that may stop do so by the paper's criterion. The filter compares m = 10 paths, of
which k = 5 are trained (Net3 trains all of 5), on `--samples` images; 100 beside batches of 64 is
about the paper's ratio of evaluation to training (1,000 beside 1,024). The warm-up is a tenth.

Each supernet is searched under 60 % of the largest FLOPs by NSGA-II (GreedyNAS's search): 50 a
generation, batch norm recalibrated on 500 images, 1,000 validation images; it begins with the
training's pool where the row says so, else at random. The table has top-1 of the best that it
finds. Supernets, searches and rows are kept below --home: what is there is not computed again, so
that seeds may run one by one, or side by side.

With `--quick`: the digits, 2 epochs, 3 generations, one seed.

Usage:
    python benchmarks/training/paths.py --json paths.json
    python benchmarks/training/paths.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.trained import Paths, Plan, kept, trained

import raynas
from raynas.commands import program
from raynas.data.splits import SearchData
from raynas.files import Record

ROWS = {
    "uniform (Net1)": Paths("uniform"),
    "uniform-constraint": Paths("uniform-constraint"),
    "fair": Paths("fair"),
    "filter (Net2)": Paths("filtered", filtering=True),
    "pool, initial, stop (Net3)": Paths("filtered", False, True, True, True),
    "filter, pool, stop (Net4)": Paths("filtered", True, True, True),
    "filter, pool, initial (Net5)": Paths("filtered", True, True, False, True),
    "greedy: all (Net6)": Paths("filtered", True, True, True, True),
}
"""The paths of the papers, and the rows of Table 4 of GreedyNAS."""

PLAN = Plan()


def main(
    json: Path = Path("paths.json"),
    plan: Plan = PLAN,
    seeds: tuple[int, ...] = (0, 1, 2),
    only: tuple[str, ...] = (),
) -> None:
    """Train in every way, and search what was trained.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        plan: the size of everything.
        seeds: of trainings and searches.
        only: the first words of the rows to measure; all if omitted.
    """
    torch.set_num_threads(1)
    plan, seeds = plan.sized(), seeds[:1] if plan.quick else seeds
    images = plan.images()
    report: dict[str, Any] = {"machine": machine(), "plan": described(plan), "rows": []}
    for seed in seeds:
        for name, paths in ROWS.items():
            if not only or name.startswith(only):
                row = measured(plan, paths, seed, images)
                report["rows"].append({"name": name, "seed": seed, **row})
                write_report(json, report)
    show(report)


def described(plan: Plan) -> Record:
    """The plan as JSON."""
    return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(plan).items()}


def measured(plan: Plan, paths: Paths, seed: int, images: SearchData) -> Record:
    """One training and its search, as one row."""
    supernet, training = trained(plan, paths, seed, images)
    start = "pool" if paths.initial else "random"
    run_dir = plan.folder(seed) / paths.training / f"search-{start}"

    def search() -> Record:
        pool = tuple(map(tuple, training["pool"])) if paths.initial else ()
        strategy = raynas.NSGA2(population=50, generations=plan.generations, top_k=50, initial=pool)
        few = replace(images, validation=images.validation[: 2 if plan.quick else 10])
        result = raynas.search(
            supernet, few, strategy=strategy, run_dir=run_dir, seed=seed, workers=0,
            constraint=raynas.FLOPs(at_most="60%"), resume=True,
        )  # fmt: skip
        names = ("top1", "test_top1", "flops", "evaluations", "seconds", "architecture", "names")
        return {f"found_{name}": result.record[name] for name in names}

    found = kept(run_dir.with_suffix(".json"), search)
    return {**{name: value for name, value in training.items() if name != "pool"}, **found}


def show(report: Record) -> None:
    """Print a row per kind of paths: means and the values of the seeds."""
    seeds = sorted({row["seed"] for row in report["rows"]})
    table = Table(title=f"Seeds {' '.join(map(str, seeds))}; test top-1: mean (each seed)")
    for column in ("paths", "cost", "steps", "evaluated", "training s", "val top-1", "test top-1"):
        table.add_column(column, justify="left" if column == "paths" else "right")
    for name in dict.fromkeys(row["name"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["name"] == name]
        tested = " ".join(f"{row['found_test_top1']:.2%}" for row in rows)
        table.add_row(
            name,
            f"{mean(rows, 'cost') / mean(rows, 'budget'):.2f}",
            f"{mean(rows, 'steps'):,.0f}",
            f"{mean(rows, 'evaluated'):,.0f}",
            f"{mean(rows, 'seconds'):.0f}",
            f"{mean(rows, 'found_top1'):.2%}",
            f"{mean(rows, 'found_test_top1'):.2%} ({tested})",
        )
    Console(width=120).print(table)


def mean(rows: list[Record], key: str) -> float:
    """The mean of one value over rows."""
    return statistics.fmean(row[key] for row in rows)


if __name__ == "__main__":
    program.run(main)
