"""Sections on searches generation by generation: Figures 7 and 8."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from raynas.files import Record
from reproduction.tables import (
    LABELS,
    METHODS,
    NOTHING,
    Group,
    Results,
    average,
    markdown,
    percent,
    seconds_of,
    values,
    work,
)

SHOWN = (1, 2, 3, 5, 8, 10, 13, 15, 20)
"""Generations that tables show."""


def figure_7(results: Results) -> list[str]:
    """The cost of each generation, by method: blocks, and seconds of one run."""
    lines: list[str] = []
    for family in results.families:
        groups = [results.plain(family["name"], method) for method in METHODS]
        found = [group for group in groups if group is not None and group.rows]
        if not found:
            continue
        timed = {g.variant["method"]: g.rows[0] for g in results.timed(family["name"]) if g.rows}
        clocks = [m for m in METHODS if m in timed]
        columns = (
            "generation",
            *(f"{g.label}: blocks" for g in found),
            *(f"{LABELS[m]}: {unit(timed[m])}" for m in clocks),
        )
        length = max(len(row["generations"]) for g in found for row in g.rows)
        rows = [
            [
                str(number + 1),
                *(f"{mean_work(g, number):,.0f}" for g in found),
                *(clock(timed[m], number) for m in clocks),
            ]
            for number in range(length)
        ]
        lines += [f"**{family['label']}**: thousands of blocks times images, one candidate at a "
                  "time, mean over seeds", "", *markdown(columns, rows)]  # fmt: skip
        lines += ratios_of_seconds(timed)
    return lines


def mean_work(group: Group, number: int) -> float:
    """Thousands of blocks times images of one generation; 0 once a search has ended."""
    every = [row["generations"] for row in group.rows]
    return statistics.fmean(
        own[number]["plain"] / 1e3 if number < len(own) else 0.0 for own in every
    )


def unit(row: Record) -> str:
    """The unit of the times of a timed search."""
    return "s" if row["generations"][0]["cpu_seconds"] is None else "CPU s"


def clock(row: Record, number: int) -> str:
    """The time of one generation of a timed search."""
    times = seconds_of(row)
    return f"{times[number]:.2f}" if number < len(times) else "0"


def ratios_of_seconds(timed: Mapping[str, Record]) -> list[str]:
    """A sentence on the seconds of the timed searches, as ratios within one run."""
    if "ea" not in timed or len(timed) < 2:
        return []
    whole = sum(seconds_of(timed["ea"]))
    texts = [
        f"{LABELS[method]} {whole / sum(seconds_of(row)):.2f}× as fast as EA"
        f" (blocks with shared prefixes: {work(timed['ea'], 'trie') / work(row, 'trie'):.2f}×)"
        for method, row in timed.items()
        if method != "ea"
    ]
    kind = "processor time" if unit(timed["ea"]) == "CPU s" else "seconds"
    return [f"By {kind}, without a ledger, with shared prefixes, one run each with one seed: "
            f"{'; '.join(texts)}.", ""]  # fmt: skip


def figure_8(results: Results) -> list[str]:
    """The best top-1 by generation, for each method."""
    columns = ("supernet, method", "seeds", *map(str, SHOWN), "the winner", "generations")
    rows = []
    for family in results.families:
        for method in METHODS:
            group = results.plain(family["name"], method)
            if group is not None and group.rows:
                rows.append([f"{family['label']}, {group.label}", *by_generation(group)])
    return markdown(columns, rows)


def by_generation(group: Group) -> list[str]:
    """Cells of the best top-1 so far at some generations, and at the end."""
    cells = [best_at(group, number) for number in SHOWN]
    lengths = [len(row["generations"]) for row in group.rows]
    return [group.done, *cells, percent(values(group, "top1")), average(lengths)]


def best_at(group: Group, number: int) -> str:
    """The mean of the best top-1 after a generation; of ended searches their last."""
    found = []
    for row in group.rows:
        best = [each["best"] for each in row["generations"][:number] if each["best"] is not None]
        found += best[-1:]
    return f"{100 * statistics.fmean(found):.2f}" if found else NOTHING
