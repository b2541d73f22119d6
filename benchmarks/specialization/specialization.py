"""What are networks worth that are looked up in the accuracy table of PONAS, and how fast is it?

Question: does the lost accuracy that the table adds up tell what a path reaches in the supernet?
How long does it take to specialise networks for ten limits? What do searches find under the same
limits, how many candidates do they need until they are as good, and how long? How much do single
blocks matter (Table 3)?

Protocol: the 12-block PONAS supernet of `experiments/fashion_mnist_ponas.py` with the table beside
it (trained first if its file is missing). Kendall's τ and Spearman's ρ are of minus the lost
accuracy and the validation top-1 of 200 random paths (500 calibration, 1,000 validation images,
those of the table); intervals are bootstraps over paths. Ten limits from 40 to 85 % of the largest
FLOPs are looked up by the genetic algorithm of the paper (20 chromosomes, 1,000 generations), and
by integer programming. Under three of them EA and PCF-ES (the thresholds of FairNAS) search with
50 a generation; `to be as good` counts the evaluations and seconds until a search has scored a
candidate at least as well as the genetic algorithm's network (in whole generations). Table 3: the
path of the choices that lose most; the same with the best choices in its two least important
blocks; and with the best one in the most important block. Each is scored in the supernet, and
retrained for `--retrain-epochs` on `--train` images.

With `--quick`: the digits, 20 paths, 2 generations of 12, one epoch.

Usage:
    python benchmarks/specialization/specialization.py --json specialization.json
    python benchmarks/specialization/specialization.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
sys.path.insert(2, str(Path(__file__).parents[1] / "prediction"))

from common.reports import machine, write_report
from correlation import correlations
from shown import show

import raynas
from raynas.commands import program, supernet_training
from raynas.commands.named_strategies import StrategyName, choose_strategy
from raynas.commands.specialize import ways
from raynas.evolution import presets as freezing
from raynas.files import Record
from raynas.report.read import read_run
from raynas.space import Architecture
from raynas.specialization import Specialization
from raynas.training import presets

LIMITS = tuple(f"{share}%" for share in range(40, 90, 5))
"""Shares of the largest FLOPs that are looked up."""

SEARCHED = ("40%", "55%", "70%")
"""Those that are searched as well."""


@dataclass(frozen=True)
class Plan:
    """The size of everything.

    Args:
        supernet: the file of the weights; the table is beside it.
        home: the folder of searches and retrained networks; what is there is not run again.
        data: the folder with the four idx files of Fashion-MNIST; Debian's if omitted.
        paths: random ones that are scored.
        generations: of each search.
        population: architectures per generation.
        seeds: of the searches.
        retrain_epochs: of each retraining.
        train: images of a retraining.
        quick: the digits, and less of everything.
    """

    supernet: Path = Path("runs/fashion_mnist_ponas/supernet.safetensors")
    home: Path = Path("runs/specialization")
    data: Path | None = None
    paths: int = 200
    generations: int = 20
    population: int = 50
    seeds: tuple[int, ...] = (0, 1, 2)
    retrain_epochs: int = 3
    train: int = 50_000
    quick: bool = False

    def sized(self) -> Plan:
        """The plan itself, or its quick version."""
        if not self.quick:
            return self
        home = self.home / "quick"
        weights = home / "supernet.safetensors"
        return replace(
            self, supernet=weights, home=home, paths=20, generations=2, population=12, seeds=(0,),
            retrain_epochs=1,
        )  # fmt: skip

    def open(self) -> tuple[raynas.ChainSupernet, raynas.data.SearchData, raynas.AccuracyTable]:
        """The supernet, trained, its data, and its table."""
        torch.manual_seed(0)
        if self.quick:
            images = raynas.data.digits(calibration=200, validation=300, shard_size=50)
            network = raynas.supernets.ponas_8x8(images.num_classes)
            settings = supernet_training.adjust(presets.DIGITS, epochs=6, learning_rate=0.05)
            samples = 64
        else:
            images = raynas.data.fashion_mnist(
                self.data, calibration=500, validation=1_000, train=self.train
            )
            network = raynas.supernets.ponas_28x28(images.num_classes)
            settings, samples = presets.FASHION_MNIST_PROGRESSIVE, 3_200
        supernet_training.train_or_load(
            network, images, settings, self.supernet,
            paths="progressive", progressive={"block_epochs": 1, "block_samples": samples},
        )  # fmt: skip
        table = raynas.AccuracyTable.load(supernet_training.table_of(self.supernet))
        return network, images, table


PLAN = Plan()


def main(json: Path = Path("specialization.json"), plan: Plan = PLAN) -> None:
    """Measure what the table of a progressive training is worth.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        plan: the size of everything.
    """
    torch.set_num_threads(1)
    plan = plan.sized()
    network, images, table = plan.open()
    report: Record = {"machine": machine(), "saved": table.saved, "rows": []}
    report["prediction"] = predicted(plan, network, images, table)
    write_report(json, report)
    bounds = [raynas.FLOPs(at_most=share) for share in LIMITS]
    found = raynas.specialize(table, network, bounds)
    report["limits"] = [looked_up(share, each) for share, each in zip(LIMITS, found, strict=True)]
    for share in SEARCHED:
        one = found[LIMITS.index(share)]
        report["rows"] += networks(network, images, share, one)
        target = report["rows"][-len(ways(one))]["top1"]
        for seed in plan.seeds:
            for name in ("ea", "pcf"):
                report["rows"].append(searched(plan, network, images, share, name, seed, target))
                write_report(json, report)
    report["blocks"] = importance(plan, network, images, table)
    write_report(json, report)
    show(report)


def predicted(
    plan: Plan,
    network: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    table: raynas.AccuracyTable,
) -> Record:
    """The order of random paths by the table, and by their scores."""
    rng = np.random.default_rng(0)
    paths = list(dict.fromkeys(network.space.sample(rng) for _ in range(plan.paths)))
    scores = raynas.evaluate(network, images, paths)
    top1 = [score.top1 for score in scores]
    lost = [float(table.lost.of(path)) for path in paths]
    return {"top1": top1, "lost": lost, **correlations([-each for each in lost], top1)}


def looked_up(share: str, result: Specialization) -> Record:
    """The seconds of both ways, and what they lose."""
    return {
        "limit": share,
        **{
            way: {"seconds": each.seconds, "lost": each.lost, "flops": each.costs["flops"]}
            for way, each in ways(result)
        },
    }


def networks(
    network: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    share: str,
    result: Specialization,
) -> list[Record]:
    """The networks of the table under one limit, scored."""
    chosen = ways(result)
    scores = raynas.evaluate(network, images, [each.architecture for _, each in chosen])
    return [
        {
            "limit": share, "way": way, "seed": None, "top1": score.top1,
            "flops": each.costs["flops"], "seconds": each.seconds, "evaluations": 0,
        }
        for (way, each), score in zip(chosen, scores, strict=True)
    ]  # fmt: skip


def searched(
    plan: Plan,
    network: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    share: str,
    name: StrategyName,
    seed: int,
    target: float,
) -> Record:
    """One search, and what it needs to be as good as the table's network."""
    options = SimpleNamespace(generations=plan.generations, population=plan.population)
    run_dir = plan.home / f"{name}-{share.rstrip('%')}-seed{seed}"
    result = raynas.search(
        network, images, strategy=choose_strategy(name, options, freezing.FAIRNAS),
        constraint=raynas.FLOPs(at_most=share), run_dir=run_dir, seed=seed, workers=0, resume=True,
    )  # fmt: skip
    records, record = read_run(run_dir), result.record
    count, evaluations, seconds = 0, None, None
    for number, generation in enumerate(records.generations, 1):
        count += len(generation["population"])
        if max((each["top1"] for each in generation["population"]), default=0.0) >= target:
            evaluations = count
            seconds = sum(each["seconds"] for each in records.metrics[:number])
            break
    return {
        "limit": share, "way": name, "seed": seed, "top1": record["top1"],
        "test_top1": record["test_top1"], "flops": record["flops"], "seconds": record["seconds"],
        "evaluations": record["evaluations"], "as_good": evaluations, "as_good_seconds": seconds,
    }  # fmt: skip


def importance(
    plan: Plan,
    network: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    table: raynas.AccuracyTable,
) -> list[Record]:
    """The three networks of Table 3."""
    preset = presets.RETRAIN_DIGITS if plan.quick else presets.RETRAIN_FASHION_MNIST
    recipe = supernet_training.adjust(preset, epochs=plan.retrain_epochs)
    rows = []
    for name, path in worst_paths(table).items():
        began = time.perf_counter()
        folder = plan.home / "retrained" / "-".join(map(str, path))
        best = raynas.retrain(network, images, path, recipe, folder).best
        (score,) = raynas.evaluate(network, images, [path])
        rows.append(
            {
                "network": name, "architecture": list(path), "top1": score.top1,
                "retrained": best.test_top1, "flops": best.flops,
                "lost": float(table.lost.of(path)), "seconds": time.perf_counter() - began,
            }
        )  # fmt: skip
    return rows


def worst_paths(table: raynas.AccuracyTable) -> Mapping[str, Architecture]:
    """The worst path, and those with the best choices in blocks that matter least and most."""
    worst = table.lost.dearest()
    order = np.argsort(table.largest_lost, kind="stable")

    def mended(blocks: Sequence[int]) -> Architecture:
        return tuple(
            table.best[block] if block in blocks else choice for block, choice in enumerate(worst)
        )

    return {
        "worst": worst,
        "worst + least important": mended([int(block) for block in order[:2]]),
        "worst + most important": mended([int(order[-1])]),
    }


if __name__ == "__main__":
    program.run(main)
