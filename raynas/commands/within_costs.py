"""Searches under the costs of given architectures, beside these in the same supernet.

The shape of SPOS's tables 5 and 6: each baseline, and what is found within its FLOPs, latency or
bit operations.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from rich.table import Table

import raynas
from raynas.commands import comparison, supernet_training, terminal
from raynas.costs import Bounds, CostTable
from raynas.errors import require
from raynas.files import Record
from raynas.preparation import open_evaluator, prepare
from raynas.report.units import cost_number
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class Found:
    """A row of the table: a baseline, or what one strategy found, as means over its seeds.

    Args:
        network: its name.
        top1: on the validation samples.
        test_top1: on held-out samples, of which it was not chosen; `None` without any.
        costs: by name.
        architectures: the baseline, or those that were found, by the names of their rows in a
            table that has one for each.
    """

    network: str
    top1: float
    test_top1: float | None
    costs: Mapping[str, float]
    architectures: Mapping[str, Architecture] = field(default_factory=dict)


def train_and_search_below(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
    options: comparison.ComparisonOptions,
    *,
    baselines: Mapping[str, Architecture],
    bound: Callable[..., Bounds],
    **training: Any,
) -> list[Found]:
    """Train a supernet unless its weights are there, search within each baseline's cost, and print.

    What a search would refuse is found before the training.

    Args:
        supernet: as it is built.
        data: to train and to search on.
        settings: of the training.
        weights: the file to read or to write.
        options: of the searches; their records are in a folder for each baseline.
        baselines: architectures by their names.
        bound: the limit, called with `at_most`, such as `raynas.BitOps`.
        training: the paths of the training, as `train_or_load` takes them.

    Returns:
        The rows of the table.

    Raises:
        InputError: as the training, or a search.
    """
    require(len(baselines) > 0, "baselines", "at least one", "none", "Name an architecture.")
    home = options.run_dir or weights.parent
    strategies = options.chosen(supernet)
    priced = bound(at_most="100%").priced(supernet)
    limits = {name: bound(at_most=priced.of(each)) for name, each in baselines.items()}
    for place, limit in limits.items():
        comparison.check_searches(supernet, data, strategies, home / place, options, limit)
    supernet_training.train_or_load(
        supernet, data, settings, weights, workers=options.workers, **training
    )
    rows = scored(supernet, data, baselines, priced, options.workers)
    for place, limit in limits.items():
        records = comparison.compare(
            supernet, data, strategies, home / place,
            seeds=options.seeds, workers=options.workers, constraint=limit,
        )  # fmt: skip
        rows += found(records, place)
    rows.sort(key=lambda row: row.costs[priced.name])
    terminal.make_console().print(baseline_table(rows, priced.name))
    return rows


def scored(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    baselines: Mapping[str, Architecture],
    cost: CostTable,
    workers: int | None,
) -> list[Found]:
    """The baselines, also on held-out samples: no search has chosen them by these."""
    prepared = prepare(supernet, data, None, None, None)
    wanted = list(baselines.values())
    with open_evaluator(prepared, workers) as evaluator:
        scores = prepared.problem.priced(evaluator.score_in_full(wanted))
        tests = [evaluator.test(each) for each in wanted]
    return [
        Found(
            name,
            score.top1,
            None if test is None else test.top1,
            {**score.costs, cost.name: cost.of(score.architecture)},
            {name: score.architecture},
        )
        for name, score, test in zip(baselines, scores, tests, strict=True)
    ]


def found(records: Sequence[Record], baseline: str) -> list[Found]:
    """The rows of what each strategy found within a baseline's cost: means over its seeds."""
    rows = []
    for name in dict.fromkeys(record["name"] for record in records):
        own = [record for record in records if record["name"] == name]
        tests = [each["test_top1"] for each in own if each["test_top1"] is not None]
        costs = {
            cost: statistics.fmean(record["costs"][cost] for record in own)
            for cost in own[0]["costs"]
        }
        label = f"{comparison.LABELS[name]}, at most {baseline}"
        test = statistics.fmean(tests) if tests else None
        each = {f"{label}, seed {record['seed']}": tuple(record["architecture"]) for record in own}
        rows.append(Found(label, comparison.mean(own, "top1"), test, costs, each))
    return rows


def baseline_table(rows: Sequence[Found], cost: str) -> Table:
    """A row for each network, the cheapest first.

    Args:
        rows: in their order.
        cost: the name of the one that was limited.
    """
    table = Table(title="Baselines, and what was found within their costs")
    shown = dict.fromkeys((cost, "flops", "params"))
    headings = map(terminal.cost_heading, shown)
    for column in ("network", *headings, "val top-1", "test top-1"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        # Milliseconds may be below one, everything else is counted.
        amounts = (cost_number(name, row.costs[name]) for name in shown)
        costs = (f"{each:,.0f}" if each >= 10 else f"{each:.3g}" for each in amounts)
        tested = terminal.share(row.test_top1)
        table.add_row(row.network, *costs, terminal.share(row.top1), tested)
    return table
