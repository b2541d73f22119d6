"""What does a search for a front find, beside one search for each limit?

Question: NSGA-II searches once for accuracy against FLOPs; EA (SPOS) searches for accuracy under a
limit. With as many evaluations, which front is larger, and which accuracy does either reach under
three limits?

Protocol: the 12-block SPOS supernet of `experiments/fashion_mnist_spos.py` (trained first if its
file is missing), 1,000 validation and 500 calibration images, batch norm recalibrated. The limits
are 70, 80 and 90 % of the largest FLOPs. NSGA-II has 21 generations of 50. EA has 7 generations of
50 under each limit, together as many evaluations (`EA, a third each`), and 21 under each, three
times as many (`EA, as many each`). All that a search keeps at its end is scored in full:
NSGA-II's front, EA's Top-10 under all limits. `hypervolume` is the area that these dominate, up to
--floor and the largest FLOPs, over that of the whole rectangle (above that top-1, and between the
smallest and the largest FLOPs). `at most …` is the best validation top-1, and the test top-1 of the
winner under each limit where a search has one.

With `--quick`: 300 + 200 of the digits, a supernet of twelve epochs, three generations, one seed,
and only as many evaluations in all.

Usage:
    python benchmarks/fronts/fronts.py --json fronts.json
    python benchmarks/fronts/fronts.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.subjects import Subject

import raynas
from raynas.commands import program
from raynas.commands.comparison import median_and_range
from raynas.costs import flops_table
from raynas.data.splits import SearchData
from raynas.files import Record
from raynas.supernets import ChainSupernet

SHARES = (70, 80, 90)
SUBJECT = Subject(Path("fronts.json"))


def main(
    subject: Subject = SUBJECT,
    seeds: tuple[int, ...] = (0, 1, 2),
    generations: int = 21,
    floor: float = 0.5,
    home: Path = Path("runs/fronts"),
) -> None:
    """Compare a search for a front with searches under limits.

    Args:
        subject: what is measured, and where its numbers go.
        seeds: of the searches.
        generations: of NSGA-II; divisible by three.
        floor: the top-1 above which a front counts.
        home: the folder of the searches; finished ones are not searched again.
    """
    torch.set_num_threads(1)
    network, images = subject.source(500, 1_000).open()
    if subject.quick:
        seeds, generations, floor, home = seeds[:1], 3, 0.0, home / "quick"
    report: dict[str, Any] = {"machine": machine(), "generations": generations, "rows": []}
    ways = (("a third each", generations // 3), ("as many each", generations))
    for seed in seeds:
        for name, count in ways[: 1 if subject.quick else 2]:
            runs = [
                search(network, images, home, raynas.EA(generations=count), share, seed)
                for share in SHARES
            ]
            report["rows"].append(row(network, f"EA, {name}", seed, runs, floor))
        nsga2 = raynas.NSGA2(generations=generations)
        runs = [search(network, images, home, nsga2, None, seed)]
        report["rows"].append(row(network, "NSGA-II", seed, runs, floor))
        write_report(subject.json, report)
    show(report)


def search(
    network: ChainSupernet,
    images: SearchData,
    home: Path,
    strategy: raynas.Strategy,
    share: int | None,
    seed: int,
) -> Record:
    """The content of one search's `result.json`."""
    name = f"{type(strategy).__name__}-{strategy.generations}-{share or 'any'}-seed{seed}"
    limit = None if share is None else raynas.FLOPs(at_most=f"{share}%")
    result = raynas.search(
        network, images, strategy=strategy, constraint=limit, run_dir=home / name, seed=seed,
        workers=0, resume=True,
    )  # fmt: skip
    return result.record


def row(
    network: ChainSupernet, name: str, seed: int, runs: Sequence[Record], floor: float
) -> Record:
    """What the searches of one way found together."""
    table = flops_table(network)
    least, most = table.of(table.cheapest()), table.of(table.dearest())
    found = [each for run in runs for each in run["finalists"]]
    points = [(each["top1"], each["costs"]["flops"]) for each in found]
    under = {
        str(share): max((top1 for top1, flops in points if flops <= most * share / 100), default=0)
        for share in SHARES
    }
    return {
        "name": name,
        "seed": seed,
        "evaluations": sum(run["evaluations"] for run in runs),
        "seconds": sum(run["seconds"] for run in runs),
        "hypervolume": dominated(points, float(least), float(most), floor),
        "under": under,
        "test_top1": [run["test_top1"] for run in runs],
        "points": points,
    }


def dominated(
    points: Sequence[tuple[float, int]], least: float, most: float, floor: float
) -> float:
    """The share of the rectangle of accuracy and FLOPs that points dominate."""
    import moocore

    scaled = np.array([(1 - top1, (cost - least) / (most - least)) for top1, cost in points])
    return float(moocore.hypervolume(scaled, ref=[1 - floor, 1.0])) / (1 - floor)


def show(report: Record) -> None:
    """Print a row for each way to search."""
    seeds = sorted({each["seed"] for each in report["rows"]})
    table = Table(title=f"Seeds {' '.join(map(str, seeds))}: median (range)")
    shares = (f"top-1 at ≤ {share} %" for share in SHARES)
    for column in ("search", "evaluations", "seconds", "hypervolume", *shares):
        table.add_column(column, justify="left" if column == "search" else "right")
    for name in dict.fromkeys(each["name"] for each in report["rows"]):
        rows = [each for each in report["rows"] if each["name"] == name]
        table.add_row(
            name,
            median_and_range([each["evaluations"] for each in rows], 0),
            median_and_range([each["seconds"] for each in rows], 0),
            median_and_range([each["hypervolume"] for each in rows], 4),
            *(
                median_and_range([100 * each["under"][str(share)] for each in rows])
                for share in SHARES
            ),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    program.run(main)
