"""What does each part of the device path gain?

Question: how long does one worker take for a generation of ImageNet's size, on the device at hand,
and what do shared prefixes, CUDA graphs, precision and folded batch norm each contribute?

Protocol: the full-size SPOS supernet (20 blocks, 224² images) with random weights, on random
images: what is timed does not depend on them. 25 random candidates, from the images on and behind a
random frozen prefix of 8 blocks (`--quick`: of 5) stored at 16 bits; 6 calibration and 6 validation
shards of 100 and of 250 images. One worker without Ray calibrates all candidates on all shards,
merges, and scores them. Each turn does so with other candidates, as a search does, so that graphs
are recorded in every turn. All modes take turns after a turn for warm-up; shown is the median and
its range:

    reference     plain PyTorch with its defaults (on CUDA: TF32 in convolutions), one candidate at
                  a time, images resident on the device
    one by one    the evaluator without shared prefixes, kernels launched one by one
    trie          with shared prefixes; also under autocast to bfloat16
    +graphs       kernels of a repeated call launched together (CUDA only)
    +bf16, +fp16  autocast, with batch norm as it is and folded; float16 on CUDA only

`identical` compares correct counts and losses, to the bit, with `one by one` in the same turn.

Usage:
    python benchmarks/speed/device.py --json device.json
    python benchmarks/speed/device.py --quick     (28² images, 12 blocks; < 2 minutes on two cores)
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from plain import PlainEvaluator

import raynas
from raynas.commands import program
from raynas.commands.comparison import median_and_range
from raynas.devices import resolve_device
from raynas.errors import require
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.device.cuda_graphs import Replays, replays_on
from raynas.evaluation.device.machine import machine_facts
from raynas.evaluation.evaluator import Evaluator
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture

MODES: dict[str, dict[str, Any]] = {
    "one by one": {"prefix_sharing": False},
    "trie": {},
    "trie, bf16": {"precision": "bfloat16"},
    "+graphs": {},
    "+bf16": {"precision": "bfloat16"},
    "+bf16, folded": {"precision": "bfloat16", "fold_batch_norm": True},
    "+fp16": {"precision": "float16"},
    "+fp16, folded": {"precision": "float16", "fold_batch_norm": True},
}
"""Settings of each mode; those from `+graphs` on run with graphs."""

CUDA_ONLY = ("trie, bf16", "+graphs", "+fp16", "+fp16, folded")


@dataclass(frozen=True)
class Job:
    """The work of all modes.

    Args:
        supernet: searched.
        frozen: how many blocks the shards have been through in the second part.
        candidates: of each turn.
        shards: of each split.
        sizes: of shards, one after another.
    """

    supernet: raynas.ChainSupernet
    frozen: int
    candidates: int
    shards: int
    sizes: tuple[int, ...]

    def data(self, size: int) -> raynas.data.SearchData:
        """Random images in shards of a size."""
        rng = np.random.default_rng(size)
        splits: list[list[Shard]] = []
        for split in ("calibration", "validation"):
            shape = (self.shards * size, *self.supernet.image_shape)
            images = rng.integers(0, 256, shape, dtype=np.uint8)
            labels = rng.integers(0, self.supernet.num_classes, len(images))
            splits.append(make_shards(images, labels, split=split, shard_size=size))
        return raynas.data.SearchData("noise", self.supernet.num_classes, splits[0], splits[1], ())

    def population(self, turn: int, prefix: Architecture) -> list[Architecture]:
        """Candidates of a turn behind a prefix."""
        rng = np.random.default_rng(turn)
        return [self.supernet.space.sample(rng, prefix) for _ in range(self.candidates)]


def main(
    json_path: Annotated[Path, tyro.conf.arg(name="json")] = Path("device.json"),
    quick: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    sizes: tuple[int, ...] = (100, 250),
    repeats: int = 3,
    only: tuple[str, ...] = ("reference", *MODES),
) -> None:
    """Time a generation in every mode.

    Args:
        json_path: receives the raw rows.
        quick: small images, a small supernet and two turns.
        device: of the evaluation.
        sizes: of the shards.
        repeats: turns of each mode that count.
        only: the modes to measure, `one by one` among them.
    """
    known = ("reference", *MODES)
    require(
        "one by one" in only and set(only) <= set(known),
        "only",
        f"'one by one' and others of {', '.join(known)}",
        only,
        "The others are compared with it.",
    )
    require(repeats > 0, "repeats", "at least 1", repeats, "Use 3.")
    where = resolve_device(device)
    torch.manual_seed(0)
    if quick:
        job, repeats = Job(raynas.supernets.spos_28x28(10), 5, 8, 3, (50,)), 2
    else:
        job = Job(raynas.supernets.spos(1000), 8, 25, 6, sizes)
    job.supernet.eval()
    report: dict[str, Any] = {
        "quick": quick,
        "machine": {**machine(), **machine_facts(where)},
        "candidates": job.candidates,
        "shards": job.shards,
        "rows": [],
    }
    for size in job.sizes:
        for frozen in (0, job.frozen):
            report["rows"] += measure(job, job.data(size), frozen, where, repeats, only)
            write_report(json_path, report)
    show(report)


def measure(
    job: Job,
    data: raynas.data.SearchData,
    frozen: int,
    device: torch.device,
    repeats: int,
    only: Sequence[str],
) -> list[dict[str, Any]]:
    """A row for each mode, from the images on or behind a frozen prefix."""
    prefix = job.supernet.space.sample(np.random.default_rng(0))[:frozen]
    modes: dict[str, Callable[[int], tuple[float, list[bytes]]]] = {}
    if not frozen and "reference" in only:
        modes["reference"] = reference(job, data, device)
    for name in [name for name in MODES if name in only]:
        if device.type == "cuda" or name not in CUDA_ONLY:
            modes[name] = worker(job, data, prefix, name, device)
    seconds: dict[str, list[float]] = {name: [] for name in modes}
    same: dict[str, bool] = dict.fromkeys(modes, True)
    for turn in range(repeats + 1):
        outcomes = {name: run(turn) for name, run in modes.items()}
        for name, (taken, found) in outcomes.items():
            seconds[name] += [taken] if turn else []
            same[name] &= found == outcomes["one by one"][1]
    size = data.validation[0].rows
    return [
        {
            "shard_size": size,
            "frozen": frozen,
            "mode": name,
            "seconds": statistics.median(taken),
            "turns": taken,
            "identical": same[name],
        }
        for name, taken in seconds.items()
    ]


def reference(
    job: Job, data: raynas.data.SearchData, device: torch.device
) -> Callable[[int], tuple[float, list[bytes]]]:
    """Plain PyTorch; it counts hits in an order of operations of its own."""
    plain = PlainEvaluator(job.supernet, data, 1, device.type)

    def run(turn: int) -> tuple[float, list[bytes]]:
        begun = time.perf_counter()
        plain.score(job.population(turn, ()))
        return time.perf_counter() - begun, []

    return run


def worker(
    job: Job, data: raynas.data.SearchData, prefix: Architecture, mode: str, device: torch.device
) -> Callable[[int], tuple[float, list[bytes]]]:
    """An evaluator in one mode, with its shards behind the prefix."""
    settings = raynas.Evaluation(device=device.type, bits=16, **MODES[mode])  # type: ignore[arg-type]
    with_graphs = list(MODES).index(mode) >= list(MODES).index("+graphs")
    replays = replays_on(device) if with_graphs else Replays(None)
    evaluator = Evaluator(copy.deepcopy(job.supernet), settings, replays=replays)
    calibration, validation = (list(split) for split in (data.calibration, data.validation))
    if prefix:
        calibration, validation = advance(evaluator, calibration, validation, prefix)

    def run(turn: int) -> tuple[float, list[bytes]]:
        architectures = job.population(turn, prefix)
        begun = time.perf_counter()
        parts = [evaluator.calibrate(shard, architectures).statistics for shard in calibration]
        merged = batch_stats.merge(parts)
        scores = [evaluator.score(shard, architectures, merged) for shard in validation]
        taken = time.perf_counter() - begun
        return taken, [column.tobytes() for s in scores for column in (s.first, s.losses)]

    return run


def advance(
    evaluator: Evaluator, calibration: list[Shard], validation: list[Shard], prefix: Architecture
) -> tuple[list[Shard], list[Shard]]:
    """The shards of both splits behind a prefix."""
    pairs = [evaluator.advance(shard, prefix, "batch") for shard in calibration]
    merged = batch_stats.merge([part.statistics for _, part in pairs])
    advanced = [evaluator.advance(shard, prefix, merged)[0] for shard in validation]
    return [shard for shard, _ in pairs], advanced


def show(report: dict[str, Any]) -> None:
    """Print a row for each mode."""
    table = Table(
        title=f"a generation of {report['candidates']} on {report['machine']['processor']}"
    )
    for column in (
        "shards of",
        "frozen",
        "mode",
        "seconds",
        "ms per candidate and image",
        "identical",
    ):
        table.add_column(column, justify="right")
    for row in report["rows"]:
        images = 2 * report["shards"] * row["shard_size"]
        milliseconds = 1e3 * row["seconds"] / (images * report["candidates"])
        table.add_row(
            str(row["shard_size"]),
            str(row["frozen"]),
            row["mode"],
            median_and_range(row["turns"]),
            f"{milliseconds:.4f}",
            "yes" if row["identical"] else "",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    program.run(main)
