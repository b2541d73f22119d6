"""How many calibration images does a ranking need, and how many of them at a time?

Question: batch norm is recalibrated for every candidate, at the cost of a forward of every
calibration image; SPOS takes 20,000. How well do fewer images rank, in smaller or larger shards
(a shard is normalised as one batch), and what regret does a search with them have?

Protocol: the small supernet of `regret.py` (4,096 architectures), 2,000 validation images.
`grid`: random architectures are scored under every number of images and shard size; Kendall's tau
compares their correct counts with those under the full protocol (2,000 images in shards of 125).
The row `others` is the full protocol on 2,000 other images (training ones): no protocol can be
expected to agree better with the full one than it does. `searches`: for each number of images, in
shards of 125, all architectures are scored (the tables of `regret.py`): tau over all of them and
over the best tenth, how many of the true Top-10 are in its Top-10, and the regret of EA and PCF-ES
that rank under it, in points of top-1; their finalists are scored under the full protocol, as
always.

With `--quick`: the small space on the handwritten digits of `regret.py --quick`.

Usage:
    python benchmarks/regret/calibration.py --json calibration.json   (first builds the tables)
    python benchmarks/regret/calibration.py --quick                   (< 2 minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table as Printed
from scipy.stats import kendalltau

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from playing import Population, Setting, Truth, play, summarize
from small import Bench, open_bench, open_quick_bench
from table_pool import TableSource

import raynas
from raynas.commands import program
from raynas.costs import Limits
from raynas.data.arrays import ArrayImages
from raynas.evolution.strategy import Problem
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import CALIBRATION, Shard, make_shards
from raynas.space import Architecture
from raynas.testing.tables import Table
from raynas.workers.open_pool import open_pool

EXACT = raynas.Evaluation(device="cpu")


def main(
    json_path: Annotated[Path, tyro.conf.arg(name="json")] = Path("calibration.json"),
    quick: bool = False,
    images: tuple[int, ...] = (125, 250, 500, 1000, 2000),
    shard_sizes: tuple[int, ...] = (50, 100, 125, 250, 500),
    architectures: int = 100,
    seeds: int = 100,
    data: Path | None = None,
    workers: int = 0,
) -> None:
    """Measure rankings and searches under fewer calibration images.

    Args:
        json_path: receives the raw rows, rewritten after each.
        quick: five blocks on the handwritten digits, three seeds, 20 architectures.
        images: numbers of calibration images.
        shard_sizes: how many of them are normalised together.
        architectures: how many random ones the grid ranks.
        seeds: how many searches are made, from seed 0 on.
        data: the folder with the four idx files; Debian's if omitted.
        workers: Ray actors that evaluate; 0 for this process.
    """
    if quick:
        images, shard_sizes = (50, 100, 200), (25, 50)
        architectures, seeds = 20, 3
    bench = open_quick_bench() if quick else open_bench(data)
    truth = bench.table(EXACT, workers=workers)
    report: dict[str, Any] = {"quick": quick, "machine": machine(), "grid": [], "searches": []}

    def note(part: str, row: dict[str, Any]) -> None:
        report[part].append(row)
        write_report(json_path, report)

    chosen = random_architectures(bench, architectures)
    known = np.array([truth.outcomes.first[truth.row(a)].sum() for a in chosen])
    others = score(bench, chosen, other_images(bench), workers)
    size = bench.data.calibration[0].rows
    note("grid", {"images": "others", "shard_size": size, "tau": tau(others, known)})
    for size in shard_sizes:
        for count in (count for count in images if count >= size):
            counts = score(bench, chosen, cut(bench.data.calibration, count, size), workers)
            note("grid", {"images": count, "shard_size": size, "tau": tau(counts, known)})
    for count in images:
        whole = count == bench.calibration
        options: dict[str, Any] = {} if whole else {"calibration_images": count}
        table = bench.table(raynas.Evaluation(device="cpu", **options), workers=workers)
        note("searches", {"images": count} | agreement(table, truth))
        for name in ("ea", "pcf"):
            setting = Setting(name, name, options)
            report["searches"][-1][name] = regret(bench, truth, setting, table, seeds)
    write_report(json_path, report)
    show(report)


def random_architectures(bench: Bench, count: int) -> list[Architecture]:
    """Distinct random architectures, the same in every run."""
    space = bench.supernet.space
    every = list(space.enumerate())
    rows = np.random.default_rng(0).choice(len(every), count, replace=False)
    return [every[row] for row in np.sort(rows)]


def other_images(bench: Bench) -> list[Shard]:
    """As many training images as there are for calibration, as they are."""
    train = bench.data.train
    assert isinstance(train, ArrayImages)
    count = bench.calibration
    return make_shards(
        train.images[:count],
        train.labels[:count],
        split=CALIBRATION,
        shard_size=bench.data.calibration[0].rows,
    )


def cut(shards: Sequence[Shard], images: int, shard_size: int) -> list[Shard]:
    """The first images of depth-0 shards, in shards of another size."""
    features = np.concatenate([shard.features for shard in shards])[:images]
    labels = np.concatenate([shard.targets for shard in shards])[:images]
    return make_shards(features, labels, split=shards[0].split, shard_size=shard_size)


def score(
    bench: Bench, chosen: Sequence[Architecture], calibration: Sequence[Shard], workers: int
) -> np.ndarray:
    """Correct counts of architectures under some calibration shards, `int64[k]`."""
    with open_pool(bench.supernet, EXACT, workers) as pool:
        splits = Splits(calibration, bench.data.validation)
        evaluator = PopulationEvaluator(pool, splits, EXACT, seed=0)
        return np.array([result.correct for result in evaluator.score(chosen)])


def tau(counts: np.ndarray, known: np.ndarray) -> float:
    """Kendall's tau-b, which allows for ties."""
    return float(kendalltau(counts, known).statistic)


def agreement(table: Table, truth: Table) -> dict[str, float]:
    """How a table ranks the whole space, its best tenth and its Top-10."""
    counts, known = (each.outcomes.first.sum(axis=1) for each in (table, truth))
    order, true_order = (np.argsort(-c, kind="stable") for c in (counts, known))
    best = true_order[: len(known) // 10]
    return {
        "tau": tau(counts, known),
        "tau_best_tenth": tau(counts[best], known[best]),
        "top10_overlap": len(set(order[:10]) & set(true_order[:10])) / 10,
    }


def regret(
    bench: Bench, truth: Table, setting: Setting, table: Table, seeds: int
) -> dict[str, Any]:
    """The regret of searches over the whole space that rank under a table."""
    target = Truth.of(truth, Problem(truth.space, Limits(truth.space)))
    shared = Population()
    source = TableSource(table)
    rows = [play(target, setting, shared, source, bench.data, seed) for seed in range(seeds)]
    return {"seeds": rows, **summarize(rows, rows)}


def show(report: dict[str, Any]) -> None:
    """Print both parts."""
    console = Console(width=110)
    sizes = sorted({row["shard_size"] for row in report["grid"]})
    printed = Printed(title="Kendall's tau with the full protocol, by images and shard size")
    for column in ("images", *map(str, sizes)):
        printed.add_column(column)
    for images in dict.fromkeys(row["images"] for row in report["grid"]):
        cells = {row["shard_size"]: row for row in report["grid"] if row["images"] == images}
        taus = [f"{cells[size]['tau']:.3f}" if size in cells else "" for size in sizes]
        printed.add_row(str(images), *taus)
    console.print(printed)
    printed = Printed(title="All architectures, shards of 125; regret: mean ± standard error")
    for column in ("images", "tau", "best tenth", "Top-10", "EA regret", "PCF-ES regret"):
        printed.add_column(column)
    for row in report["searches"]:
        regrets = [f"{row[s]['regret']:.3f} ± {row[s]['regret_se']:.3f}" for s in ("ea", "pcf")]
        shares = [f"{row[key]:.3f}" for key in ("tau", "tau_best_tenth")]
        printed.add_row(str(row["images"]), *shares, f"{row['top10_overlap']:.0%}", *regrets)
    console.print(printed)


if __name__ == "__main__":
    program.run(main)
