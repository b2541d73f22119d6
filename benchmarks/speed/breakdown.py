"""Where does the time of a generation go?

Question: how much of the workers' time is block compute, and what takes the rest? All the rest
together is to be 10 % at most.

Protocol: 50 random candidates on the 12-block Fashion-MNIST supernet, and 50 behind a random frozen
prefix of 6 blocks, on 2,000 calibration and 2,000 validation images in shards of 125; batch norm
recalibrated, prefixes shared, exact; 2 Ray actors with one thread each. Each generation is scored
once for warm-up and then repeatedly, into a ledger on the disk that is emptied in between. What is
divided is seconds × workers. Timing many small parts takes time itself (1 % here), so actors do it
twice: once they time the modules alone, whose share in the median repeat is the answer; once all
parts, shown for the repeat whose block compute has the median share. Parts:

    compute         the forward passes of stem, choices and heads
    statistics      batch-norm statistics around them: given to layers, collected, merged
    copies          stored features to tensors, changes of memory layout, results to the host
    judging         hits and losses from logits
    walk            what else an actor does in a call: trie, checks, bookkeeping
    serialization   arguments read and results written by actors (estimated by doing it once
                    more in the driver), and merged statistics put into the store by the driver
    scheduling      other time between calls: dispatch, Ray's transport, waking up
    imbalance       actors that wait until the last of a map has ended
    planning        cutting a generation into work units, while all actors wait
    ledger          looking scores up and adding them, while all actors wait
    driver          everything else the driver does while all actors wait

A busy machine makes the waiting parts look larger than they are; `load` in the JSON is the load
average at the beginning and at the end, of this benchmark and all else.

With `--quick`: 300 + 200 images of the handwritten digits, 4 of the 8 blocks frozen, 2 repeats. Its
blocks are so small that the share of compute says nothing.

Usage:
    python benchmarks/speed/breakdown.py --json breakdown.json
    python benchmarks/speed/breakdown.py --quick                 (< 2 minutes on two cores)
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.subjects import Subject
from metered import IN_DRIVER, METHODS, Metered, MeteredActor, PartTimer, RecordingPool

import raynas
from raynas.commands import program
from raynas.errors import require
from raynas.ledger.ledger import Ledger
from raynas.population.evaluated import Known, Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.workers.pool import Pool
from raynas.workers.ray_cluster import connected
from raynas.workers.ray_pool import ActorOptions, RayPool

CANDIDATES = 50
PROTOCOL = raynas.Evaluation(device="cpu", threads=1)
PARTS = (
    "compute",
    "statistics",
    "copies",
    "judging",
    "walk",
    "serialization",
    "scheduling",
    "imbalance",
    "planning",
    "ledger",
    "driver",
)


SUBJECT = Subject(Path("breakdown.json"))


def main(
    subject: Subject = SUBJECT,
    workers: int = 2,
    repeats: int = 5,
) -> None:
    """Divide the time of a generation, unfrozen and behind a frozen prefix.

    Args:
        subject: what is measured, and where its numbers go.
        workers: Ray actors, at least 1.
        repeats: of each generation.
    """
    require(workers > 0, "workers", "a number of Ray actors", workers, "Use 2.")
    require(repeats > 0, "repeats", "at least 1", repeats, "Use 5.")
    source = subject.source(2_000, 2_000)
    repeats = 2 if subject.quick else repeats
    report: dict[str, Any] = {
        "quick": subject.quick,
        "machine": machine(),
        "images": {"calibration": source.calibration, "validation": source.validation},
        "candidates": CANDIDATES,
        "workers": workers,
        "load": [os.getloadavg()[0]],
        "rows": [],
    }
    network, images = source.open()
    splits = Splits(images.calibration, images.validation)
    timer = PartTimer("driver")
    timer.time(IN_DRIVER)
    with tempfile.TemporaryDirectory() as folder, connected():
        file = Path(folder) / "ledger.sqlite"
        alone, parts = (
            measure_with(Metered(network, parts=parts), timer, workers, splits, file, repeats)
            for parts in (False, True)
        )
    report["rows"] = [
        {**divided, "modules_alone": row} for row, divided in zip(alone, parts, strict=True)
    ]
    report["load"].append(os.getloadavg()[0])
    write_report(subject.json, report)
    show(report)


def measure_with(
    metered: Metered,
    timer: PartTimer,
    workers: int,
    splits: Splits,
    file: Path,
    repeats: int,
) -> list[dict[str, Any]]:
    """The rows of actors that time the modules alone, or all parts."""
    network, actor = metered.supernet, ray.remote(MeteredActor)
    pool = RayPool(network, PROTOCOL, workers, options=ActorOptions(actor, metered))
    try:
        pool.wait()
        return measure(RecordingPool(pool, timer), network, splits, file, repeats)
    finally:
        pool.close()


def measure(
    recording: RecordingPool,
    network: raynas.ChainSupernet,
    splits: Splits,
    file: Path,
    repeats: int,
) -> list[dict[str, Any]]:
    """A row for the generation from the images on, and for the one behind a prefix."""
    known = Known(Ledger(file), raynas.supernets.digest(network))
    evaluator = PopulationEvaluator(cast(Pool, recording), splits, PROTOCOL, 0, known)
    rng = np.random.default_rng(0)
    rows = []
    for depth in (0, network.space.blocks // 2):
        prefix = network.space.sample(rng)[:depth]
        population = [(*prefix, *network.space.sample(rng)[depth:]) for _ in range(CANDIDATES)]
        if prefix:
            evaluator.freeze(prefix, population[0])
        outcomes = [generation(recording, evaluator, population, file) for _ in range(repeats + 1)]
        rows.append(summary(depth, outcomes[1:]))
    return rows


def generation(
    pool: RecordingPool,
    evaluator: PopulationEvaluator,
    population: Sequence[Architecture],
    file: Path,
) -> dict[str, dict[str, float]]:
    """Score a generation that the ledger does not know; the parts of both operations."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM scores")
    return pool.generation(lambda: evaluator.score(population))


def summary(frozen: int, outcomes: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Shares of each operation and of both, in the repeat of the median compute share."""
    median = sorted(outcomes, key=lambda parts: share_of(both(parts)))[len(outcomes) // 2]
    operations = {**median, "both": both(median)}
    return {
        "frozen": frozen,
        "worker_seconds": {name: sum(parts.values()) for name, parts in operations.items()},
        "shares": {name: shares(parts) for name, parts in operations.items()},
        "compute_share": share_of(both(median)),
        "compute_shares": [share_of(both(parts)) for parts in outcomes],
        "repeats": list(outcomes),
    }


def both(operations: dict[str, dict[str, float]]) -> dict[str, float]:
    """The worker-seconds of each part in calibration and scoring together."""
    return {part: sum(operations[name].get(part, 0.0) for name in METHODS) for part in PARTS}


def shares(parts: dict[str, float]) -> dict[str, float]:
    """Each part's share of all."""
    total = sum(parts.values())
    return {part: parts.get(part, 0.0) / total for part in PARTS}


def share_of(parts: dict[str, float], part: str = "compute") -> float:
    """The share of one part."""
    return shares(parts)[part]


def show(report: dict[str, Any]) -> None:
    """Print a column for each operation of each generation."""
    table = Table(title=f"worker time of a generation on {report['workers']} actors")
    table.add_column("part")
    columns: list[tuple[dict[str, Any], str]] = []
    for row in report["rows"]:
        for name in (*METHODS, "both"):
            table.add_column(f"{name}\n{row['frozen']} frozen", justify="right")
            columns.append((row, name))
    for part in PARTS:
        table.add_row(part, *(f"{row['shares'][name][part]:.2%}" for row, name in columns))
    table.add_section()
    worked = [f"{row['worker_seconds'][name]:.2f}" for row, name in columns]
    table.add_row("seconds × workers", *worked)
    console = Console(width=120)
    console.print(table)
    for row in report["rows"]:
        alone = row["modules_alone"]
        rest = [1.0 - share for share in alone["compute_shares"]]
        console.print(
            f"{row['frozen']} frozen: not block compute {1.0 - alone['compute_share']:.1%} "
            f"({min(rest):.1%}-{max(rest):.1%}) where modules alone are timed; "
            "at most 10 % is required"
        )


if __name__ == "__main__":
    program.run(main)
