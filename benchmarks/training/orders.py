"""How well do a few images rank the paths of a supernet?

Question: GreedyNAS filters paths by their loss on 1,000 images. How does that order agree with the
order by accuracy on all validation images, for a supernet that nobody trained, one that was trained
on uniform paths, and a greedy one (its Table 3)? And with 100 images, as `paths.py` filters?

Protocol: the supernets of `paths.py` (trained first, or read from its --home), 200 random paths,
batch norm as it was trained (the filter's protocol). Spearman's ρ and Kendall's τ of the negative
loss and of the accuracy on the first 100 and 1,000 validation images with the accuracy on the 4,000
others, so that no image is on both sides; ties count as such (τ-b).

With `--quick`: digits, 20 paths; 50 and 100 images against 200.

Usage:
    python benchmarks/training/orders.py --json orders.json
    python benchmarks/training/orders.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, spearmanr

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.trained import Paths, Plan, kept, trained
from paths import described

import raynas
from raynas.commands import program
from raynas.commands.families import build_family
from raynas.data.splits import SearchData
from raynas.files import Record
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.score import Score
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.workers.open_pool import open_pool

SUPERNETS = {
    "random": None,
    "uniform": Paths("uniform"),
    "greedy": Paths("filtered", True, True),
}
PLAN = Plan()
MEASURES = ("spearman_loss", "spearman_top1", "kendall_loss", "kendall_top1")


def main(
    json: Path = Path("orders.json"), plan: Plan = PLAN, seeds: tuple[int, ...] = (0, 1, 2)
) -> None:
    """Compare orders of paths.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        plan: the size of everything.
        seeds: of the trainings, and of the paths.
    """
    torch.set_num_threads(1)
    plan, seeds = plan.sized(), seeds[:1] if plan.quick else seeds
    images = plan.images()
    report: dict[str, Any] = {"machine": machine(), "plan": described(plan), "rows": []}
    for seed in seeds:
        for name, paths in SUPERNETS.items():
            report["rows"] += measured(plan, name, paths, seed, images)
            write_report(json, report)
    show(report)


def measured(
    plan: Plan, name: str, paths: Paths | None, seed: int, images: SearchData
) -> list[Record]:
    """A row for each number of images that one supernet's paths are ranked on."""

    def measure() -> Record:
        torch.manual_seed(seed)
        supernet = build_family(plan.system, images)
        if paths is not None:
            supernet, _ = trained(plan, paths, seed, images)
        return {"rows": orders(plan, supernet, seed, images.validation)}

    file = plan.folder(seed) / (paths.training if paths else name) / "orders.json"
    return [{"name": name, "seed": seed, **row} for row in kept(file, measure)["rows"]]


def orders(plan: Plan, supernet: ChainSupernet, seed: int, shards: Sequence[Shard]) -> list[Record]:
    """The correlations of the orders by few and by many images."""
    rng = np.random.default_rng(seed)
    paths = [supernet.space.sample(rng) for _ in range(plan.paths)]
    few = (1, 2) if plan.quick else (1, 10)
    truth = [score.top1 for score in scored(supernet, shards[few[-1] :], paths)]
    rows = []
    for count in few:
        scores = scored(supernet, shards[:count], paths)
        row: Record = {"images": sum(shard.rows for shard in shards[:count])}
        for key, values in (
            ("loss", [-score.loss for score in scores]),
            ("top1", [score.top1 for score in scores]),
        ):
            row[f"spearman_{key}"] = float(spearmanr(values, truth).statistic)
            row[f"kendall_{key}"] = float(kendalltau(values, truth).statistic)
        rows.append(row)
    return rows


def scored(
    supernet: ChainSupernet, shards: Sequence[Shard], paths: Sequence[Architecture]
) -> list[Score]:
    """The scores of paths on shards, batch norm as it was trained."""
    evaluation = raynas.Evaluation(batch_norm="inherit")
    with open_pool(supernet, evaluation, 0) as pool:
        splits = Splits((), tuple(shards))
        return PopulationEvaluator(pool, splits, evaluation, seed=0).score(paths)


def show(report: Record) -> None:
    """Print a row for each supernet and number of images: means and the values of the seeds."""
    table = Table(title="Correlation with the order on all other images: mean (each seed)")
    for column in ("supernet", "images", *(name.replace("_", ", ") for name in MEASURES)):
        table.add_column(column, justify="left" if column == "supernet" else "right")
    for name, images in dict.fromkeys((row["name"], row["images"]) for row in report["rows"]):
        rows = [row for row in report["rows"] if (row["name"], row["images"]) == (name, images)]
        cells = []
        for measure in MEASURES:
            values = [row[measure] for row in rows]
            each = " ".join(f"{value:.3f}" for value in values)
            cells.append(f"{statistics.fmean(values):.3f} ({each})")
        table.add_row(name, f"{images:,}", *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    program.run(main)
