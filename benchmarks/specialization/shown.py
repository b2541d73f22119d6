"""The tables that the benchmark prints."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raynas.commands.comparison import LABELS, median_and_range
from raynas.files import Record


def show(report: Record) -> None:
    """Print what the table predicts, and its networks beside those of searches."""
    screen = Console(width=120)
    told = report["prediction"]
    intervals = (
        f"{title} {told[name]:.3f} "
        f"({told[f'{name}_interval'][0]:.3f} to {told[f'{name}_interval'][1]:.3f})"
        for name, title in (("kendall", "Kendall's τ"), ("spearman", "Spearman's ρ"))
    )
    screen.print(f"{len(told['top1'])} random paths by the table: {', '.join(intervals)}")
    screen.print(
        f"shared prefixes saved {report['saved']:.1%} of the block executions of the table"
    )
    for way in ("genetic", "optimum"):
        seconds = [each[way]["seconds"] for each in report["limits"] if way in each]
        screen.print(
            f"{way}: {sum(seconds):.2f} s for {len(seconds)} limits, at most {max(seconds):.2f} s"
        )
    screen.print(rows_table(report["rows"]))
    screen.print(importance_table(report["blocks"]))


def rows_table(rows: Sequence[Record]) -> Table:
    """A row for each limit and way; searches are medians and ranges over their seeds."""
    table = Table(title="Networks under limits")
    for column in ("FLOPs", "found by", "MFLOPs", "val top-1 %", "evaluated", "seconds", "as good"):
        table.add_column(column, justify="left" if column == "found by" else "right")
    for limit, way in dict.fromkeys((row["limit"], row["way"]) for row in rows):
        own = [row for row in rows if (row["limit"], row["way"]) == (limit, way)]
        table.add_row(
            limit,
            LABELS.get(way, way),
            f"{statistics.fmean(row['flops'] for row in own) / 1e6:.3f}",
            median_and_range([100 * row["top1"] for row in own]),
            f"{statistics.fmean(row['evaluations'] for row in own):.0f}",
            median_and_range([row["seconds"] for row in own]),
            as_good(own),
        )
    return table


def as_good(rows: Sequence[Record]) -> str:
    """The evaluations until each seed's search was as good as the table's network."""
    counts = [row["as_good"] for row in rows if "as_good" in row]
    return " ".join("never" if count is None else str(count) for count in counts)


def importance_table(rows: Sequence[Record]) -> Table:
    """A row for each network of Table 3."""
    table = Table(title="Blocks that matter (PONAS, table 3)")
    for column in ("network", "MFLOPs", "lost by table", "val top-1", "test top-1 retrained"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        table.add_row(
            row["network"],
            f"{row['flops'] / 1e6:.3f}",
            f"{row['lost']:.2%}",
            f"{row['top1']:.2%}",
            f"{row['retrained']:.2%}",
        )
    return table
