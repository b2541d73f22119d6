"""How much faster than the plain evolutionary search is choice freezing, and what does it cost?

Question: on one trained supernet, what do EA (SPOS), CF-ES and PCF-ES find, and in how many
seconds? (The paper's Table 1, on Fashion-MNIST.)

Protocol: the 12-block SPOS supernet of `experiments/fashion_mnist_spos.py` (trained first if its
file is missing), 1,000 validation and 500 calibration images, population 50, 20 generations,
Top-10, threshold 0.5 and monitor size 3 (chosen on seeds 10 and 11), batch norm recalibrated,
32 bits, all samples. Candidates are evaluated one at a time
(`prefix_sharing=False`), so that only the freezing is measured. For each seed the strategies run
one after another on one Ray cluster, each with workers of its own, whose start is not counted; a
warm-up search comes first. `seconds` are those of all generations, freezes included, and of the
final re-scoring. Speed-ups are ratios
within a seed. `block_forwards` (blocks executed times images) is what was saved, free of noise.

With `--quick`: 300 + 200 images of the handwritten digits, a supernet that was trained for twelve
epochs, 6 generations of one seed, in this process.

Usage:
    python benchmarks/speed/strategies.py --json strategies.json
    python benchmarks/speed/strategies.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import five_numbers, machine, write_report
from common.subjects import Subject

import raynas
from raynas.commands import workflow
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.open_pool import open_pool
from raynas.workers.ray_cluster import connected

STRATEGIES: tuple[workflow.StrategyName, ...] = ("ea", "cf", "pcf")


SUBJECT = Subject(Path("strategies.json"))


def main(
    subject: Subject = SUBJECT,
    seeds: tuple[int, ...] = (0, 1, 2),
    workers: int = 2,
    paths: int = 200,
    threshold: float = 0.5,
) -> None:
    """Compare the strategies on Fashion-MNIST.

    Args:
        subject: what is measured, and where its numbers go.
        seeds: of the searches.
        workers: Ray actors with one thread each; 0 for this process.
        paths: how many random paths are scored for the spread of the supernet.
        threshold: the choice percentage at which CF-ES and PCF-ES freeze.
    """
    quick, source = subject.quick, subject.source(500, 1_000)
    network, images = source.open()
    workers = 0 if quick else workers
    report: dict[str, Any] = {
        "quick": quick,
        "threshold": threshold,
        "machine": machine(),
        "spread": path_spread(network, images, workers, 20 if quick else paths),
        "rows": [],
    }
    with connected() if workers else nullcontext(), tempfile.TemporaryDirectory() as folder:
        job = Job(network, images, source.constraint, workers, threshold)
        search(job, "ea", 0, 2, Path(folder) / "warm-up")
        for seed in (0,) if quick else seeds:
            for name in STRATEGIES:
                run_dir = Path(folder) / f"{name}-{seed}"
                generations = 6 if quick else 20
                report["rows"].append(search(job, name, seed, generations, run_dir))
                write_report(subject.json, report)
    show(report)


@dataclass(frozen=True)
class Job:
    """What all searches have in common."""

    supernet: raynas.ChainSupernet
    data: raynas.data.SearchData
    constraint: raynas.FLOPs
    workers: int
    threshold: float


def search(
    job: Job, name: workflow.StrategyName, seed: int, generations: int, run_dir: Path
) -> dict[str, Any]:
    """One search, as one row."""
    block_forwards = 0

    def count(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        nonlocal block_forwards
        block_forwards += metrics["block_forwards"]

    result = raynas.search(
        job.supernet,
        job.data,
        strategy=workflow.make_strategy(name, generations=generations, threshold=job.threshold),
        constraint=job.constraint,
        evaluation=raynas.Evaluation(prefix_sharing=False),
        run_dir=run_dir,
        workers=job.workers,
        seed=seed,
        observer=count,
    )
    kept = ("top1", "test_top1", "flops", "evaluations", "generations", "frozen", "seconds")
    row = {key: result.record[key] for key in (*kept, "architecture")}
    return {"strategy": name, "seed": seed, "block_forwards": block_forwards, **row}


def path_spread(
    network: raynas.ChainSupernet, images: raynas.data.SearchData, workers: int, paths: int
) -> dict[str, float]:
    """Validation top-1 of random paths, batch norm recalibrated for each."""
    rng = np.random.default_rng(0)
    chosen = [network.space.sample(rng) for _ in range(paths)]
    evaluation = raynas.Evaluation()
    with open_pool(network, evaluation, workers) as pool:
        splits = Splits(images.calibration, images.validation)
        evaluator = PopulationEvaluator(pool, splits, evaluation, seed=0)
        top1 = np.array([score.top1 for score in evaluator.score(chosen)])
    return {"paths": paths, **five_numbers(top1)}


def show(report: dict[str, Any]) -> None:
    """Print the spread of the supernet, and a row per strategy: means over the seeds."""
    console = Console(width=120)
    spread = report["spread"]
    console.print(
        f"{spread['paths']} random paths, validation top-1: "
        f"{spread['minimum']:.2%} to {spread['maximum']:.2%}, median {spread['median']:.2%}, "
        f"standard deviation {spread['standard_deviation']:.2%}"
    )
    table = Table(title="Means over the seeds; speed-ups: median (minimum-maximum) against EA")
    for column in ("strategy", "val top-1", "test top-1", "MFLOPs", "evaluations", "seconds"):
        table.add_column(column)
    table.add_column("speed-up")
    table.add_column("fewer block forwards")
    for name in STRATEGIES:
        rows = [row for row in report["rows"] if row["strategy"] == name]
        table.add_row(
            name.upper(),
            f"{mean(rows, 'top1'):.2%}",
            f"{mean(rows, 'test_top1'):.2%}",
            f"{mean(rows, 'flops') / 1e6:.3f}",
            f"{mean(rows, 'evaluations'):.0f}",
            f"{mean(rows, 'seconds'):.1f}",
            ratios(report["rows"], rows, "seconds"),
            ratios(report["rows"], rows, "block_forwards"),
        )
    console.print(table)


def mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The mean of one value over rows."""
    return statistics.fmean(row[key] for row in rows)


def ratios(every: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], key: str) -> str:
    """EA's value over the strategy's, seed by seed: median, minimum and maximum."""
    baseline = {row["seed"]: row[key] for row in every if row["strategy"] == "ea"}
    values = [baseline[row["seed"]] / row[key] for row in rows]
    return f"{statistics.median(values):.2f}× ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    workflow.run(main)
