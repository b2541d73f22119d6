"""How far from the true best is what a search finds, and what does it cost?

Question: on a space whose every architecture is known, what regret (points of top-1 that the found
architecture lacks to the best legal one) do random search, EA, CF-ES and PCF-ES have, and what do
sampling, quantization, fewer calibration images and bfloat16 add to it? This is how a change to the
search is judged.

Protocol: a supernet of six SPOS blocks (4,096 architectures), trained on 50,000 images of
Fashion-MNIST for 12 epochs. Full protocol: 2,000 validation images, batch norm recalibrated on
2,000 others in shards of 125, 32 bits, one thread. Every architecture is scored under it, through
the trie, and kept: in `ledger.sqlite`, from which searches of this supernet take all they ask for,
and with the per-sample losses as a table; so are those under fewer calibration images and in
bfloat16. The searches are the library's own (`search_generation` on `PopulationEvaluator`), with
workers that look outcomes up. Choices of samples are played exactly; what bfloat16 rounds behind a
prefix is taken to be what it rounds from the images on. Activations stored at fewer bits
are really evaluated, on the first 20 seeds, and remembered: all that can follow a frozen prefix at
once, on all samples of a shard, so that 8- and 4-bit scales are those of the whole shard even where
samples are selected.

Population 25, 10 generations, Top-8, monitor size 3, threshold 0.6 (chosen on seeds 1000 to 1039:
at 0.5 four of six blocks freeze and a search ends after half its evaluations, at 0.7 hardly any
block does); once unlimited and once with a FLOPs limit at the median of the space. The finalists
(Top-8, and the best before each freeze) are scored under the full protocol, and the best of them is
what was found. 100 seeds, the same for all settings; differences from EA are taken seed by seed.
`block_forwards` are blocks executed times images, through the trie, finalists included. `first
votes` keep a share of the samples from the first generation on, by the votes of all of it or of ten
candidates, and 20 % from the first freeze on. `all` is an eighth of the calibration images,
bfloat16, folded batch norm, and ten first votes for 30 % of the samples.

With `--quick`: five blocks (1,024 architectures) on the handwritten digits, 200 + 200 images, a
supernet of twelve epochs, and three seeds; its numbers say that the script works, and no more.

Usage:
    python benchmarks/regret/regret.py --json regret.json   (first builds supernet and tables)
    python benchmarks/regret/regret.py --quick              (< 2 minutes)
    python benchmarks/regret/regret.py --rebuild            (makes ledger and tables again)
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import five_numbers, machine, write_report
from measured import MeasuredOutcomes
from playing import Population, Setting, Truth, play, summarize
from small import HOME, LEDGER, QUICK, Bench, file_name, open_bench, open_quick_bench, unfrozen
from table_pool import OutcomeSource, TableSource

import raynas
from raynas.commands import program
from raynas.costs import Limit, Limits, flops_table
from raynas.evolution.strategy import Problem

TABLES = ("full*.npz", "calibration-*.npz", "measured/*/*.npz", f"{LEDGER}*")
QUICK_SEEDS = 3
MEASURED_SEEDS = 20


def settings(images: int) -> list[Setting]:
    """The searches that are compared; the first one is the baseline.

    Args:
        images: for calibration, under the full protocol.
    """
    few: dict[str, Any] = {"calibration_images": images // 4}
    fewer: dict[str, Any] = {"calibration_images": images // 8}
    fast = fewer | {"precision": "bfloat16", "fold_batch_norm": True}
    sampled: dict[str, Any] = {"sample_rate": 0.2, "sampling": "disagreement"}
    voted = sampled | {"unfrozen_sample_rate": 0.3}
    ten = voted | {"voters": 10}
    return [
        Setting("EA", "ea"),
        Setting("EA, a quarter calibrated", "ea", few),
        Setting("EA, an eighth calibrated", "ea", fewer),
        Setting("EA, first votes 30 %", "ea", voted),
        Setting("EA, ten first votes 30 %", "ea", ten),
        Setting("EA, all", "ea", fast | ten),
        Setting("random", "random"),
        Setting("CF", "cf"),
        Setting("CF, disagreement 20 %", "cf", sampled),
        Setting("PCF", "pcf"),
        Setting("PCF, threshold 0.5", "pcf", threshold=0.5),
        Setting("PCF, threshold 0.7", "pcf", threshold=0.7),
        Setting("PCF, top 40 %", "pcf", {"sample_rate": 0.4, "sampling": "top"}),
        Setting("PCF, weighted 40 %", "pcf", {"sample_rate": 0.4, "sampling": "weighted"}),
        Setting("PCF, random 20 %", "pcf", {"sample_rate": 0.2, "sampling": "random"}),
        Setting("PCF, disagreement 40 %", "pcf", sampled | {"sample_rate": 0.4}),
        Setting("PCF, disagreement 20 %", "pcf", sampled),
        Setting("PCF, disagreement 10 %", "pcf", sampled | {"sample_rate": 0.1}),
        Setting("PCF, first votes 50 %", "pcf", voted | {"unfrozen_sample_rate": 0.5}),
        Setting("PCF, first votes 30 %", "pcf", voted),
        Setting("PCF, first votes 20 %", "pcf", voted | {"unfrozen_sample_rate": 0.2}),
        Setting("PCF, ten first votes 30 %", "pcf", ten),
        Setting("PCF, a quarter calibrated", "pcf", few),
        Setting("PCF, an eighth calibrated", "pcf", fewer),
        Setting("PCF, bfloat16, an eighth calibrated", "pcf", fast),
        Setting("PCF, all", "pcf", fast | ten),
        Setting("PCF, all, threshold 0.5", "pcf", fast | ten, threshold=0.5),
        Setting("PCF, all, threshold 0.7", "pcf", fast | ten, threshold=0.7),
        Setting("CF, an eighth calibrated, 8 bits", "cf", fewer | {"bits": 8}),
        *(
            Setting(f"PCF, an eighth calibrated, {bits} bits", "pcf", fewer | {"bits": bits})
            for bits in (16, 8, 4)
        ),
        Setting("PCF, all, 8 bits", "pcf", fast | ten | {"bits": 8}),
    ]


def main(
    json_path: Annotated[Path, tyro.conf.arg(name="json")] = Path("regret.json"),
    quick: bool = False,
    seeds: int = 100,
    data: Path | None = None,
    workers: int = 0,
    rebuild: bool = False,
    only: tuple[str, ...] = (),
) -> None:
    """Measure the regret of searches on an exhaustive table.

    Args:
        json_path: receives the raw rows, rewritten after each setting.
        quick: five blocks on the handwritten digits, and three seeds.
        seeds: how many searches each setting makes, from seed 0 on.
        data: the folder with the four idx files; Debian's if omitted.
        workers: Ray actors that build the tables; 0 for this process.
        rebuild: remove the tables first.
        only: the names of the settings to run beside EA; all of them if none is given.
    """
    if rebuild:
        remove_tables(QUICK if quick else HOME)
    bench = open_quick_bench() if quick else open_bench(data)
    shared = Population()
    baseline, *others = settings(bench.calibration)
    chosen = [baseline, *(setting for setting in others if not only or setting.name in only)]
    truth = bench.table(raynas.Evaluation(device="cpu"), workers=workers)
    report: dict[str, Any] = {
        "quick": quick,
        "machine": machine(),
        "shared": asdict(shared),
        "spread": spread(truth.values),
        "limits": [],
    }
    measured: dict[str, MeasuredOutcomes] = {}
    outcomes = {s.name: open_outcomes(bench, s, workers, measured) for s in chosen}
    for name, problem in problems(bench).items():
        target = Truth.of(truth, problem)
        rows: dict[str, Any] = {}
        report["limits"].append({"limit": name, **describe(target), "rows": rows})
        for setting in chosen:
            source = outcomes[setting.name]
            count = QUICK_SEEDS if quick else seeds
            if isinstance(source, MeasuredOutcomes):
                count = min(count, MEASURED_SEEDS)
            played = [play(target, setting, shared, source, bench.data, s) for s in range(count)]
            rows[setting.name] = {"setting": asdict(setting), "seeds": played}
            rows[setting.name] |= summarize(played, rows["EA"]["seeds"][:count])
            write_report(json_path, report)
    show(report)


def describe(target: Truth) -> dict[str, Any]:
    """The limit of a problem, how many architectures it leaves, and the best of them."""
    return {
        "flops": at_most(target.problem),
        "best": list(target.best),
        "legal": target.problem.limits.count(),
        "best_top1": float(target.table.values[target.table.row(target.best)]),
    }


def remove_tables(home: Path) -> None:
    """Remove the tables and the ledger, so that they are made again."""
    for pattern in TABLES:
        for file in home.glob(pattern):
            file.unlink()


def open_outcomes(
    bench: Bench, setting: Setting, workers: int, measured: dict[str, MeasuredOutcomes]
) -> OutcomeSource:
    """The outcomes of a setting: those of a table, below 32 bits with measurements.

    Args:
        bench: the supernet.
        setting: how to search.
        workers: Ray actors that build the table.
        measured: those that are open, by their names; they are shared.
    """
    protocol = raynas.Evaluation(device="cpu", **setting.options)
    table = bench.table(protocol, workers=workers)
    if protocol.bits == 32:
        return TableSource(table)
    stored = replace(unfrozen(protocol), bits=protocol.bits)
    name = f"{file_name(stored)}-{stored.bits}bits"
    if name not in measured:
        folder = bench.home / "measured" / name
        measured[name] = MeasuredOutcomes(table, bench.supernet, bench.data, stored, folder)
    return measured[name]


def problems(bench: Bench) -> dict[str, Problem]:
    """The whole space, and the half of it with the fewest FLOPs."""
    space, table = bench.supernet.space, flops_table(bench.supernet)
    median = int(np.median([table.of(architecture) for architecture in space.enumerate()]))
    return {
        "none": Problem(space, Limits(space)),
        "median FLOPs": Problem(space, Limits(space, (Limit(table, median),))),
    }


def at_most(problem: Problem) -> int | None:
    """The upper limit on FLOPs, if there is one."""
    return problem.limits.description().get("flops", {}).get("at_most")


def spread(top1: np.ndarray) -> dict[str, float]:
    """How much the architectures of a space differ."""
    ranked = np.sort(top1)[::-1]
    within = {
        f"within_{points}_points": int((ranked >= ranked[0] - points / 100).sum())
        for points in (0.1, 0.25, 0.5)
    }
    return {**five_numbers(top1), **within}


def show(report: dict[str, Any]) -> None:
    """Print the spread of the space, and one table per limit."""
    console = Console(width=160)
    known = report["spread"]
    console.print(
        f"All architectures, validation top-1: {known['minimum']:.2%} to {known['maximum']:.2%}, "
        f"median {known['median']:.2%}, standard deviation {known['standard_deviation']:.2%}"
    )
    for limited in report["limits"]:
        name, legal, best = (limited[key] for key in ("limit", "legal", "best_top1"))
        limit = f"limit: {name}, {legal:,} legal, best {best:.2%}"
        printed = Printed(title=f"Regret in points of top-1, mean ± standard error; {limit}")
        printed.add_column("setting", no_wrap=True)
        for column in ("regret", "minus EA", "worst", "found best"):
            printed.add_column(column)
        for column in ("evaluations", "frozen", "M block-forwards", "EA / this"):
            printed.add_column(column)
        for name, row in limited["rows"].items():
            printed.add_row(
                name,
                f"{row['regret']:.3f} ± {row['regret_se']:.3f}",
                f"{row['minus_ea']:+.3f} ± {row['minus_ea_se']:.3f}",
                f"{row['worst_regret']:.2f}",
                f"{row['found_best']:.0%}",
                f"{row['evaluations']:.0f}",
                f"{row['frozen']:.1f}",
                f"{row['block_forwards'] / 1e6:.2f}",
                f"{row['fewer_block_forwards']:.2f}×",
            )
        console.print(printed)


if __name__ == "__main__":
    program.run(main)
