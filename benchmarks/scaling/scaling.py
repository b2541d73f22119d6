"""How well does a generation scale with the number of actors?

Question (a): what do 2 real actors with one thread each reach of what 2 independent processes
reach that share nothing but the machine? Question (b): how many GPUs does the driver keep busy?

Protocol (a): the first generation of a search (50 random candidates) on the Fashion-MNIST supernet,
2,000 calibration and 2,000 validation images in shards of 125, batch norm recalibrated, prefixes
shared, one intra-op thread per process. `one_process` evaluates all of it in a process without
Ray; `one_process_default` does so with the default memory allocator, as a search in this process
(`workers=0`) does, while all others keep the memory that they have freed; `two_processes` are two
processes, started together, with half of the shards of both splits each, until the last has ended;
`one_actor` and `two_actors` are Ray's. After a warm-up, the modes take turns. Speed-ups are ratios
of medians against `one_process`; `efficiency` is the speed-up of two actors over that of two
processes. `identical` says whether all scores of one process, one actor
and two actors are equal. What can be hoped for is about 2.0; at least 0.93 of it is required.

Protocol (b): the job is a generation of 50 random candidates on the full-size SPOS supernet
(20 blocks of 4 choices), 20,000 calibration and 5,000 validation images. Block times are measured
here on one core, for calibration and scoring, and scaled so that a device scores one candidate at
`images_per_second`. Actors are processes of a real Ray cluster on this machine; they sleep for as
long as their calls would take, and return results of the right shape and size. Driver, planner,
dispatch, object store and merging are the library's. Shards are stand-ins (on a cluster each is
fetched once by its actor). A generation for warm-up comes first.
`efficiency` = (sleep of the whole trie by one actor) / (actors × seconds). `lost_share` says where
the rest went, as shares of the actors' time: prefixes that parts of the trie compute again,
imbalance at the end of a split, dispatch (what a split took beyond its sleeping), and the driver,
while no actor had work. One machine plays all nodes here, so that actors compete for its cores with
the driver: dispatch and driver are upper bounds. At least 0.9 at 64 actors is required.

With `--quick`: 300 + 200 images of the handwritten digits, two repeats; a twentieth of the ImageNet
images on 4 and 8 simulated actors, with the times of random weights.

Usage:
    python benchmarks/scaling/scaling.py --json scaling.json
    python benchmarks/scaling/scaling.py --quick                (< 2 minutes)
    python benchmarks/scaling/scaling.py --actors 8 16 32 64 --no-real
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.subjects import Source, Subject
from independent import Helper, open_evaluator, together
from simulation import PROTOCOL, Job, available_bytes, imagenet_supernet, measure_blocks, simulate

import raynas
from raynas.commands import program
from raynas.commands.comparison import median_and_range
from raynas.workers.ray_pool import RayPool

CANDIDATES = 50

BOOT = {
    "worker_maximum_startup_concurrency": 2 * (os.cpu_count() or 2),
    "worker_register_timeout_seconds": 600,
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
}
"""So that hundreds of processes start a few at a time on a few cores, and are waited for."""

ACTOR_BYTES = 120e6
"""Memory of a sleeping actor, before any has been measured."""


SUBJECT = Subject(Path("scaling.json"))


def main(
    subject: Subject = SUBJECT,
    real: bool = True,
    actors: tuple[int, ...] = (8, 16, 32, 64, 128, 256),
    repeats: int = 5,
    images_per_second: float = 2000.0,
    shard_size: int = 250,
) -> None:
    """Compare actors with independent processes, and simulate large clusters.

    Args:
        subject: what is measured, and where its numbers go.
        real: measure real actors, too.
        actors: how many to simulate, one run after another; none to leave the simulation out.
        repeats: of every measurement of real actors; the simulation has at most 3.
        images_per_second: of one candidate of the full-size supernet on one simulated device.
        shard_size: images in a simulated shard.
    """
    quick = subject.quick
    report: dict[str, Any] = {"quick": quick, "machine": machine()}
    if real:
        source = subject.source(2_000, 2_000)
        report["real"] = measure_real(source, 2 if quick else repeats)
        write_report(subject.json, report)
    if actors:
        job, report["job"] = imagenet_job(quick, images_per_second, 125 if quick else shard_size)
        for row in simulate_all(job, (4, 8) if quick else actors, min(repeats, 3)):
            report.setdefault("simulated", []).append(row)
            write_report(subject.json, report)
    show(report)


def measure_real(source: Source, repeats: int) -> dict[str, Any]:
    """Seconds of a generation: in one process, in two, with one actor and with two."""
    supernet, data = source.open()
    population = random_population(supernet, CANDIDATES)
    ray.init("local", num_cpus=3, include_dashboard=False, logging_level=logging.ERROR)
    with ExitStack() as stack:
        stack.callback(ray.shutdown)
        evaluators = []
        for workers in (1, 2):
            pool = RayPool(supernet, PROTOCOL, workers)
            stack.callback(pool.close)
            evaluators.append(open_evaluator(pool, data))
        helpers = [
            Helper(source, population),
            Helper(source, population, keeps_memory=False),
            Helper(source, population, 0, 2),
            Helper(source, population, 1, 2),
        ]
        for helper in helpers:
            stack.callback(helper.close)
        whole, default, left, right = helpers
        one, two = evaluators
        modes: dict[str, Callable[[], Any]] = {
            "one_process": lambda: together(whole)[0],
            "one_process_default": lambda: together(default)[0],
            "two_processes": lambda: together(left, right),
            "one_actor": lambda: one.score_again(population),
            "two_actors": lambda: two.score_again(population),
        }
        rows, scores = take_turns(modes, repeats)
    middle = {row["mode"]: statistics.median(row["seconds"]) for row in rows}
    ratio = {mode: middle["one_process"] / seconds for mode, seconds in middle.items()}
    return {
        "images": {"calibration": source.calibration, "validation": source.validation},
        "candidates": CANDIDATES,
        "rows": rows,
        "speedup": ratio,
        "efficiency": ratio["two_actors"] / ratio["two_processes"],
        "identical": scores["one_process"] == scores["one_actor"] == scores["two_actors"],
    }


def take_turns(
    modes: dict[str, Callable[[], Any]], repeats: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The seconds of each mode, after a warm-up, and what each returned."""
    returned = {mode: run() for mode, run in modes.items()}
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(repeats):
        for mode, run in modes.items():
            begun = time.perf_counter()
            run()
            seconds[mode].append(time.perf_counter() - begun)
    return [{"mode": mode, "seconds": values} for mode, values in seconds.items()], returned


def random_population(
    supernet: raynas.ChainSupernet, count: int
) -> list[raynas.space.Architecture]:
    """Random candidates."""
    rng = np.random.default_rng(0)
    return [supernet.space.sample(rng) for _ in range(count)]


def imagenet_job(
    quick: bool, images_per_second: float, shard_size: int
) -> tuple[Job, dict[str, Any]]:
    """The ImageNet-sized generation at the speed of the simulated device, and its description."""
    supernet = imagenet_supernet()
    measured = measure_blocks(supernet, images=8, repeats=2)
    population = tuple(random_population(supernet, CANDIDATES))
    chains = [[a[:depth] for depth in range(len(a) + 1)] + [(*a, 0)] for a in population]
    mean = statistics.fmean(measured.work("score", paths) for paths in chains)
    calibration, validation = (1_000, 250) if quick else (20_000, 5_000)
    table = measured.scaled(1.0 / (mean * images_per_second))
    job = Job(supernet, table, population, calibration, validation, shard_size)
    return job, {
        "calibration": calibration,
        "validation": validation,
        "shard_size": shard_size,
        "candidates": CANDIDATES,
        "core_images_per_second": 1.0 / mean,
        "actor_images_per_second": images_per_second,
        "work_seconds": job.work,
    }


def simulate_all(job: Job, actors: Sequence[int], repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each number of actors; those that memory is too small for are left out."""
    ray.init(
        "local",
        num_cpus=max(actors),
        object_store_memory=2 * 10**9,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _system_config=BOOT,
    )
    each = ACTOR_BYTES
    try:
        for number in actors:
            if number * each > 0.8 * available_bytes():
                yield {"actors": number, "not_run": f"{number * each / 1e9:.1f} GB do not fit"}
                continue
            row = simulate(job, number, 1 if number < 32 else repeats)
            each = row["actor_bytes"]
            yield row
    finally:
        ray.shutdown()


def show(report: dict[str, Any]) -> None:
    """Print a table per question."""
    console = Console(width=120)
    if "real" in report:
        real = report["real"]
        table = Table(title="A generation: median seconds (minimum-maximum)")
        for column in ("mode", "seconds", "speed-up"):
            table.add_column(column)
        for row in real["rows"]:
            table.add_row(
                row["mode"],
                median_and_range(row["seconds"]),
                f"{real['speedup'][row['mode']]:.2f}×",
            )
        console.print(table)
        console.print(
            f"two actors reach {real['efficiency']:.3f} of two independent processes; "
            f"identical scores: {real['identical']}"
        )
    if report.get("simulated"):
        lost = ("prefixes_recomputed", "imbalance", "dispatch", "driver")
        table = Table(title=f"{report['job']['work_seconds']:.0f} s of work on simulated actors")
        for column in ("actors", "seconds", "efficiency", *lost, "driver CPU s", "MB of results"):
            table.add_column(column)
        for row in report["simulated"]:
            if "not_run" in row:
                table.add_row(str(row["actors"]), row["not_run"])
                continue
            table.add_row(
                str(row["actors"]),
                median_and_range(row["repeats"]),
                f"{row['efficiency']:.3f}",
                *(f"{row['lost_share'][name]:.1%}" for name in lost),
                f"{row['driver_cpu_seconds']:.2f}",
                f"{row['store_bytes']['results'] / 1e6:.0f}",
            )
        console.print(table)


if __name__ == "__main__":
    program.run(main)
