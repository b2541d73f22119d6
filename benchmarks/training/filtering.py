"""How long does a training step wait for the filter of greedy paths?

Question: GreedyNAS scores m = 10 paths for every k = 5 steps. How many seconds of a step is that,
through the prefix trie and one path at a time? Do both give the same losses?

Protocol: `fairnas_28x28` (12 blocks of 6 choices) with random weights, images of noise: time
depends on neither. In every round both filters score the same ten paths on the same 1,000
validation images (shards of 125), in this process with one thread, weights carried over as in a
training, the one that begins taking turns; then five training steps on batches of 64 are timed. The
paths are drawn from the space (ε = 0, at the end of the warm-up) and, where --pool names the
`training.json` of a greedy training of `paths.py`, with ε = 0.8 from its pool, as at its end.
Seconds are per training step: those of a round over k; medians and ranges of --rounds.

With `--quick`: 200 images, three rounds.

Usage:
    python benchmarks/training/filtering.py --json filtering.json
    python benchmarks/training/filtering.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report

import raynas
from raynas.commands import program
from raynas.commands.comparison import median_and_range
from raynas.files import Record, read_json
from raynas.population.path_filter import PathFilter, open_path_filter
from raynas.shards.shard import make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.task import Classification
from raynas.training import GreedySettings, UniformPaths, presets
from raynas.training.course import Training
from raynas.training.trainer import make_optimizer, move, update

BATCH = 64
PAPER = GreedySettings()
WAYS = {"trie": True, "one by one": False}


def main(
    json: Path = Path("filtering.json"),
    rounds: int = 20,
    images: int = 1_000,
    pool: Path | None = None,
    quick: bool = False,
) -> None:
    """Time the filter both ways, and the steps that it chooses paths for.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        rounds: of each kind of paths.
        images: that paths are compared on.
        pool: the record of a training, whose pool paths are drawn from, too.
        quick: see the top of the script.
    """
    torch.set_num_threads(1)
    rounds, images = (3, 200) if quick else (rounds, images)
    torch.manual_seed(0)
    supernet = raynas.supernets.fairnas_28x28(10)
    report: dict[str, Any] = {"machine": machine(), "images": images, "rows": []}
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 1, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, images)
    shards = make_shards(pixels, labels, split="validation", shard_size=125)
    with ExitStack() as stack:
        filters = {
            way: stack.enter_context(
                open_path_filter(
                    supernet,
                    shards,
                    samples=images,
                    evaluation=raynas.Evaluation(batch_norm="inherit", prefix_sharing=sharing),
                )
            )
            for way, sharing in WAYS.items()
        }
        pooled = [] if pool is None else list(map(tuple, read_json(pool)["pool"]))
        for exploit in (0.0, PAPER.exploit) if pooled else (0.0,):
            for number in range(rounds):
                paths = draw(supernet, exploit, pooled, rng)
                row = measured(supernet, filters, paths, number)
                report["rows"].append({"exploit": exploit, "round": number, **row})
                write_report(json, report)
    show(report)


def draw(
    supernet: ChainSupernet,
    exploit: float,
    pool: Sequence[Architecture],
    rng: np.random.Generator,
) -> tuple[Architecture, ...]:
    """Ten different paths, each of the pool with this probability."""
    found: dict[Architecture, None] = {}
    while len(found) < PAPER.sampled:
        pooled = rng.random() < exploit
        found[pool[int(rng.integers(len(pool)))] if pooled else supernet.space.sample(rng)] = None
    return tuple(found)


def measured(
    supernet: ChainSupernet,
    filters: dict[str, PathFilter],
    paths: Sequence[Architecture],
    number: int,
) -> Record:
    """One round both ways, and the steps behind it, as one row."""
    row: Record = {}
    losses = {}
    for way in islice(cycle(WAYS), number, number + len(WAYS)):
        before = filters[way].block_forwards
        started = time.perf_counter()
        losses[way] = filters[way].losses(paths, np.random.default_rng(0))
        row[f"{way} seconds"] = (time.perf_counter() - started) / PAPER.kept
        row[f"{way} block forwards"] = filters[way].block_forwards - before
    row["same losses"] = losses["trie"] == losses["one by one"]
    row["step seconds"] = step_seconds(supernet, paths[: PAPER.kept])
    return row


@dataclass(frozen=True)
class Batch:
    """A batch of noise."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def make(cls) -> Batch:
        """The same batch every time."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (BATCH, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return cls(images, torch.randint(0, 10, (BATCH,), generator=generator))


def step_seconds(supernet: ChainSupernet, paths: Sequence[Architecture]) -> float:
    """The mean seconds of a training step on each of some paths."""
    settings = presets.FASHION_MNIST
    move(supernet, torch.device("cpu"))
    supernet.train()
    sampler = UniformPaths(supernet.space)
    optimizer = make_optimizer(supernet, settings)
    training = Training(supernet, Classification(10), settings, sampler, optimizer)
    batch = Batch.make()
    started = time.perf_counter()
    for path in paths:
        update(training, (path,), batch.images, batch.labels)
    seconds = (time.perf_counter() - started) / len(paths)
    supernet.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return seconds


def show(report: Record) -> None:
    """Print a row for each kind of paths."""
    table = Table(title="Seconds per training step: median (range)")
    for column in ("paths", "one by one", "trie", "ratio", "block forwards", "step", "same losses"):
        table.add_column(column, justify="left" if column == "paths" else "right")
    for exploit in sorted({row["exploit"] for row in report["rows"]}):
        rows = [row for row in report["rows"] if row["exploit"] == exploit]
        singles = [row["one by one seconds"] for row in rows]
        tries = [row["trie seconds"] for row in rows]
        fewer = [row["one by one block forwards"] / row["trie block forwards"] for row in rows]
        table.add_row(
            f"ε = {exploit}",
            median_and_range(singles, 3),
            median_and_range(tries, 3),
            median_and_range([a / b for a, b in zip(singles, tries, strict=True)]),
            median_and_range(fewer),
            median_and_range([row["step seconds"] for row in rows], 3),
            "yes" if all(row["same losses"] for row in rows) else "no",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    program.run(main)
