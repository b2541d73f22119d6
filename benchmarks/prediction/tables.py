"""What the benchmark prints: how well supernets predict, and what their winners reach."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raynas.commands.comparison import LABELS
from raynas.files import Record


def show(report: Record) -> None:
    """Print a table of predictions, and one of winners beside random architectures."""
    screen = Console(width=120)
    screen.print(predictions(report))
    if report["winners"]:
        screen.print(winners(report))


def predictions(report: Record) -> Table:
    """A row for each predictor; the interval is a bootstrap over the architectures."""
    accuracies = [row["test_top1"] for row in report["subnets"]]
    table = Table(
        title=f"Order of {len(accuracies)} retrained subnets, test top-1 {spread(accuracies)}"
    )
    for column in ("predictor", "seed", "Kendall's τ (95 %)", "Spearman's ρ (95 %)"):
        table.add_column(column, justify="left" if column == "predictor" else "right")
    for row in report["predictions"]:
        seed = "" if row["seed"] is None else str(row["seed"])
        cells = []
        for name in ("kendall", "spearman"):
            low, high = row[f"{name}_interval"]
            cells.append(f"{row[name]:.3f} ({low:.3f} to {high:.3f})")
        table.add_row(row["name"], seed, *cells)
    return table


def winners(report: Record) -> Table:
    """A row for each supernet and strategy, and one for the random architectures."""
    table = Table(title="Retrained winners, and random architectures of equal FLOPs")
    for column in (
        "supernet",
        "strategy",
        "val top-1 in it",
        "test top-1 retrained",
        "better than",
    ):
        table.add_column(column, justify="left" if column in ("supernet", "strategy") else "right")
    random = [row["test_top1"] for row in report["baselines"]]
    keys = dict.fromkeys((row["name"], row["strategy"]) for row in report["winners"])
    for name, strategy in keys:
        rows = [r for r in report["winners"] if (r["name"], r["strategy"]) == (name, strategy)]
        retrained = [row["test_top1"] for row in rows]
        beaten = [sum(each < value for each in random) for value in retrained]
        shown = " ".join(f"{count} of {len(random)}" for count in beaten)
        inside = spread([row["searched"]["top1"] for row in rows])
        table.add_row(name, LABELS[strategy], inside, spread(retrained), shown)
    table.add_row("none", "random", "", spread(random), "")
    return table


def spread(values: Sequence[float]) -> str:
    """Median and range of shares in per cent; a single one as it is."""
    if len(values) == 1:
        return f"{values[0]:.2%}"
    return f"{statistics.median(values):.2%} ({min(values):.2%} to {max(values):.2%})"
