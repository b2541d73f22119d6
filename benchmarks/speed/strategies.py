"""How much faster than the plain evolutionary search is choice freezing, and what does it cost?

Question: on the trained supernet of each paper, what do EA (SPOS), CF-ES and PCF-ES find, and in
how many seconds? (The paper's Table 1, on Fashion-MNIST.) What does freezing gain where candidates
share their prefixes anyway?

Protocol: a 12-block supernet of `experiments/fashion_mnist_*.py` (`--system`; trained first if its
file is missing), 1,000 validation and 500 calibration images, population 50, 20 generations,
Top-10, batch norm recalibrated, 32 bits, all samples. Threshold and monitor size are those that the
paper has for the system, unless `--threshold` is given. Candidates are evaluated one at a time
(`prefix_sharing=False`), so that only the freezing is measured, and once more through the trie;
scores are the same. For each seed the strategies run one after another, on one Ray cluster if there
are workers, each with workers of its own, whose start is not counted; a warm-up search comes first.
`seconds` are those of all generations, freezes included, and of the final re-scoring. Ratios are
within a seed. `block_forwards` (blocks executed times images) is what was saved, free of noise.
Joules are those of every machine that works, over the same time as the seconds: measured where
counters can be read (the processors' RAPL as root, GPUs by NVML), else estimated from a stated
power (`--watts`, `--cpu-watts`, `--gpu-watts`) and marked `~`, else left out; `energy_missing` in
the raw numbers says why.

With `--quick`: 300 + 200 images of the handwritten digits, a supernet that was trained for twelve
epochs (or the one of `--supernet`), in this process; 6 generations of one seed unless
`--generations` and `--seeds` say more.

Usage:
    python benchmarks/speed/strategies.py --json strategies.json
    python benchmarks/speed/strategies.py --system fairnas --json fairnas.json
    python benchmarks/speed/strategies.py --quick                    (< 2 minutes)
    python benchmarks/speed/strategies.py --quick --generations 20 --seeds 0 1 2 --system fairnas \
        --supernet fairnas.safetensors
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import five_numbers, machine, write_report
from common.subjects import Subject

import raynas
from raynas.commands import program
from raynas.commands.comparison import comparison_table
from raynas.commands.families import freezing_of
from raynas.commands.named_strategies import StrategyName, choose_strategy
from raynas.commands.options import given
from raynas.commands.run_options import MeteringOptions
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.open_pool import open_pool
from raynas.workers.ray_cluster import connected

STRATEGIES: tuple[StrategyName, ...] = ("ea", "cf", "pcf")
SHARING = {"one at a time": False, "trie": True}

KEPT = (
    *("top1", "test_top1", "flops", "evaluations", "generations", "frozen", "seconds", "seed"),
    *("busy", "utilisation", "gpu_hours", "energy_j", "energy_source", "energy_missing", "co2_g"),
    *("co2_g_per_kwh", "architecture"),
)
"""What is kept of the content of `result.json`."""

SUBJECT = Subject(Path("strategies.json"))
METERING = MeteringOptions()


def main(
    subject: Subject = SUBJECT,
    seeds: tuple[int, ...] | None = None,
    generations: int | None = None,
    workers: int = 2,
    paths: int = 200,
    threshold: float | None = None,
    evaluators: tuple[str, ...] = tuple(SHARING),
    metering: MeteringOptions = METERING,
) -> None:
    """Compare the strategies on Fashion-MNIST.

    Args:
        subject: what is measured, and where its numbers go.
        seeds: of the searches; 0 1 2 if omitted, and 0 of the digits.
        generations: of each search; 20 if omitted, and 6 on the digits.
        workers: Ray actors with one thread each; 0 for this process.
        paths: how many random paths are scored for the spread of the supernet.
        threshold: the choice percentage at which CF-ES and PCF-ES freeze; the paper's if omitted.
        evaluators: one at a time, trie.
        metering: what energy is told in.
    """
    quick, source = subject.quick, subject.source(500, 1_000)
    network, images = source.open()
    workers = 0 if quick else workers
    seeds = seeds or ((0,) if quick else (0, 1, 2))
    generations = generations or (6 if quick else 20)
    report: dict[str, Any] = {
        "quick": quick,
        "system": subject.system,
        "generations": generations,
        "machine": machine(),
        "spread": path_spread(network, images, workers, 20 if quick else paths),
        "rows": [],
    }
    with connected() if workers else nullcontext(), tempfile.TemporaryDirectory() as folder:
        settings = given(raynas.Metering, metering)
        job = Job(network, images, source.constraint, workers, threshold, settings)
        search(job, "ea", 0, 2, "trie", Path(folder) / "warm-up")
        for seed in seeds:
            for evaluator in evaluators:
                for name in STRATEGIES:
                    run_dir = Path(folder) / f"{evaluator}-{name}-{seed}"
                    row = search(job, name, seed, generations, evaluator, run_dir)
                    report["rows"].append(row)
                    write_report(subject.json, report)
    show(report)


@dataclass(frozen=True)
class Job:
    """What all searches have in common."""

    supernet: raynas.ChainSupernet
    data: raynas.data.SearchData
    constraint: raynas.FLOPs
    workers: int
    threshold: float | None
    metering: raynas.Metering

    def strategy(self, name: StrategyName, generations: int) -> raynas.Strategy:
        """A strategy with the paper's thresholds, or the one that was given."""
        options = SimpleNamespace(generations=generations, threshold=self.threshold)
        return choose_strategy(name, options, freezing_of(self.supernet))


def search(
    job: Job,
    name: StrategyName,
    seed: int,
    generations: int,
    evaluator: str,
    run_dir: Path,
) -> dict[str, Any]:
    """One search, as one row."""
    block_forwards = 0

    def count(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        nonlocal block_forwards
        block_forwards += metrics["block_forwards"]

    strategy = job.strategy(name, generations)
    result = raynas.search(
        job.supernet,
        job.data,
        strategy=strategy,
        constraint=job.constraint,
        evaluation=raynas.Evaluation(prefix_sharing=SHARING[evaluator]),
        run_dir=run_dir,
        workers=job.workers,
        seed=seed,
        observer=count,
        metering=job.metering,
    )
    row = {key: result.record[key] for key in KEPT}
    return {
        "name": name,
        "evaluator": evaluator,
        "settings": strategy.settings(),
        "block_forwards": block_forwards,
        **row,
    }


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
    """Print the spread of the supernet, a table for each evaluator, and when blocks were frozen."""
    console = Console(width=140)
    spread = report["spread"]
    console.print(
        f"{spread['paths']} random paths, validation top-1: "
        f"{spread['minimum']:.2%} to {spread['maximum']:.2%}, median {spread['median']:.2%}, "
        f"standard deviation {spread['standard_deviation']:.2%}"
    )
    for evaluator in dict.fromkeys(row["evaluator"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["evaluator"] == evaluator]
        console.print(f"{report['system']}, {evaluator}:")
        measured = all(row["energy_source"] == "measured" for row in rows)
        joules = ("energy_j",) if measured else ()
        console.print(comparison_table(rows, ("seconds", *joules, "block_forwards")))
    for row in report["rows"]:
        if row["evaluator"] == report["rows"][0]["evaluator"] and any(row["frozen"]):
            frozen = " ".join(map(str, row["frozen"]))
            console.print(f"frozen by generation, {row['name']}, seed {row['seed']}: {frozen}")


if __name__ == "__main__":
    program.run(main)
