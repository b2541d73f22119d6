"""Sections on what searches find and cost: Tables 1 and 2."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from raynas.files import Record
from reproduction.paper import TABLE_1, TABLE_2, PaperRow, saved
from reproduction.tables import (
    LABELS,
    METHODS,
    NOTHING,
    Group,
    Results,
    average,
    gains,
    markdown,
    not_run,
    percent,
    points,
    savings,
    seconds_of,
    share,
    signed,
    told,
    values,
)

COLUMNS_1 = (
    "supernet, method", "T", "MS", "seeds", "top-1", "top-5", "against EA, points", "test top-1",
    "MFLOPs", "evaluations", "blocks saved, one at a time", "blocks saved, shared prefixes",
    "time saved", "energy",
)  # fmt: skip


def table_1(results: Results) -> list[str]:
    """Supernets × methods: what is found, and what it costs; the paper's row under ours."""
    rows: list[list[str]] = []
    lines: list[str] = []
    absent = []
    for family in results.families:
        groups = [results.plain(family["name"], method) for method in METHODS]
        paper = TABLE_1.get(family["name"], {})
        if not any(group is not None and group.rows for group in groups):
            absent.append(family["label"])
        clocks = {g.variant["method"]: g for g in results.timed(family["name"])}
        for method, group in zip(METHODS, groups, strict=True):
            if group is not None and group.rows:
                rows.append(row_1(family, group, groups[0], clocks))
            if method in paper:
                rows.append(paper_row_1(family, paper, method))
        lines += [f"- {text}" for text in differences_1(family, groups, paper)]
    return [*markdown(COLUMNS_1, rows), *lines, *not_run(absent), ""]


def row_1(
    family: Record, group: Group, base: Group | None, clocks: Mapping[str, Group]
) -> list[str]:
    """One row of Table 1.

    Args:
        family: the supernet.
        group: the searches of a method.
        base: those of EA.
        clocks: the timed searches by method: the others have scores from a ledger, so that their
            seconds and joules are not those of a search by itself.
    """
    against = group is not base
    timed = clocks.get(group.variant["method"])
    return [
        f"{family['label']}, {group.label}",
        told(group.variant["threshold"]),
        told(group.variant["monitor"]),
        group.done,
        percent(values(group, "top1")),
        percent(values(group, "top5")),
        points(gains(group, base)) if against else "",
        percent(values(group, "test_top1")),
        average([value / 1e6 for value in values(group, "flops")], 3),
        average(values(group, "evaluations"), 0),
        share(savings(group, base)) if against else "",
        share(savings(group, base, "trie")) if against else "",
        time_saved(timed, clocks.get("ea")) if against else "",
        energy(timed),
    ]


def paper_row_1(family: Record, paper: Mapping[str, PaperRow], name: str) -> list[str]:
    """The paper's row of a method."""
    own = paper[name]
    against = name != "ea"
    hours, joules = f"{own.hours} h", f"{own.energy} MJ"
    return [
        f"paper: {family['label']}, {LABELS[name]}",
        told(own.threshold),
        told(own.monitor),
        NOTHING,
        f"{own.top1} %",
        f"{own.top5} %",
        signed(own.top1 - paper["ea"].top1) if against else "",
        NOTHING,
        told(own.flops),
        *[NOTHING] * 3,
        f"{paper_share(paper, name)} ({hours})" if against else hours,
        f"{joules} ({paper_share(paper, name, 'energy')} saved)" if against else joules,
    ]


def time_saved(group: Group | None, base: Group | None) -> str:
    """The share of EA's time that the timed search of a method saves, with one seed."""
    if group is None or base is None or not (group.rows and base.rows):
        return NOTHING
    own, other = (sum(seconds_of(each.rows[0])) for each in (group, base))
    return f"{100 * (1 - own / other):.0f} %"


def paper_share(rows: Mapping[str, PaperRow], name: str, column: str = "hours") -> str:
    """The share of its evolutionary search that the paper's method saves, in per cent."""
    found = saved(rows, name, column)
    return NOTHING if found is None else f"{100 * found:.0f} %"


def energy(group: Group | None) -> str:
    """Joules of timed searches, or that they cannot be measured."""
    if group is None or not group.rows:
        return NOTHING
    joules = values(group, "energy_j")
    if len(joules) < len(group.rows):
        return "not measurable"
    sources = {row.get("energy_source") for row in group.rows}
    estimated = " (estimated)" if "estimated" in sources else ""
    return f"{average(joules, 0)} J{estimated}"


def differences_1(
    family: Record, groups: Sequence[Group | None], paper: Mapping[str, PaperRow]
) -> list[str]:
    """A sentence for each method that freezes, from the numbers alone."""
    base = groups[0]
    texts = []
    for method, group in zip(METHODS[1:], groups[1:], strict=True):
        if group is None or not savings(group, base):
            continue
        text = (
            f"**{family['label']}, {LABELS[method]}:** saves a median of "
            f"{100 * statistics.median(savings(group, base)):.0f} % of EA's block executions at "
            f"{signed(100 * statistics.fmean(gains(group, base)), 2)} points of top-1 "
            f"(mean of {len(gains(group, base))} pairs of equal seeds)"
        )
        if method in paper:
            lost = signed(paper[method].top1 - paper["ea"].top1)
            text += f"; the paper {paper_share(paper, method)} of the hours at {lost} points"
        texts.append(f"{text}. {freezes_in_words(group)}")
    return texts


def freezes_in_words(group: Group) -> str:
    """A sentence on when searches froze, how far, and how they ended."""
    every = [[each["frozen"] for each in row["generations"]] for row in group.rows]
    froze = [[(n, blocks) for n, blocks in enumerate(own, 1) if blocks] for own in every]
    first = [own[0] for own in froze if own]
    if not first:
        return "None of them froze anything."
    again = sum(own[-1][1] > own[0][1] for own in froze if own)
    early = sum("generation" not in (row["finished"] or "") for row in group.rows)
    return (
        f"{len(first)} of {len(every)} froze, first in generation "
        f"{average([number for number, _ in first])} (mean) and "
        f"{average([blocks for _, blocks in first])} blocks; {again} froze more later; {early} "
        "ended before the generation limit."
    )


def table_2(results: Results) -> list[str]:
    """SPOS on other data sets."""
    columns = ("data, method", "seeds", "top-1", "top-5", "against EA, points", "saved")
    rows = []
    for data in results.report["data"]:
        base = results.plain("spos", "ea", data["name"])
        for method in METHODS:
            group = results.plain("spos", method, data["name"])
            if group is not None:
                rows.append([
                    f"{data['label']}, {group.label}", group.done,
                    percent(values(group, "top1")), percent(values(group, "top5")),
                    points(gains(group, base)) if method != "ea" else "",
                    share(savings(group, base)) if method != "ea" else "",
                ])  # fmt: skip
    if not rows:
        return []
    for name, printed in TABLE_2.items():
        for method, row in printed.items():
            lost = signed(row.top1 - printed["ea"].top1) if method != "ea" else ""
            hours = paper_share(printed, method) if method != "ea" else ""
            rows.append([f"paper: {name}, {LABELS[method]}", NOTHING, f"{row.top1} %",
                         f"{row.top5} %", lost, hours])  # fmt: skip
    return markdown(columns, rows)
