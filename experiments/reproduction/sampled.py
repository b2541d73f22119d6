"""Sections on samples and storage: Figures 6 and 11, Tables 3 and 4."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from raynas.files import Record
from reproduction.paper import TABLE_3, TABLE_4
from reproduction.tables import (
    NOTHING,
    Group,
    Results,
    average,
    gains,
    markdown,
    percent,
    points,
    signed,
    values,
)

NAMES = {
    "top": "largest loss",
    "weighted": "drawn by loss, p/q",
    "random": "random",
}
"""Ways of sampling as the page names them."""


def figure_6(results: Results) -> list[str]:
    """Agreement of candidates on what is hard."""
    columns = (
        "supernet", "frozen", "candidates", "samples", "rank correlation of losses",
        "largest quarter shared",
    )  # fmt: skip
    rows = []
    for family in results.families:
        found = results.report["importance"].get(family["name"])
        if found is not None:
            rows.append([
                family["label"], str(found["frozen"]), str(found["candidates"]),
                f"{found['samples']:,}", f"{found['loss_correlation']:.2f}",
                f"{100 * found['largest_shared']:.0f} %",
            ])  # fmt: skip
    return markdown(columns, rows)


def sampled(results: Results, family: str) -> list[Group]:
    """PCF-ES on samples that are stored as they are."""
    return results.groups(
        family,
        lambda v: v["method"] == "pcf" and v["rate"] < 1.0 and v["bits"] == 32,
    )


def figure_11(results: Results) -> list[str]:
    """Top-1 by sample rate, for the way of sampling that is the library's own."""
    rows, texts = [], []
    columns = (
        "supernet, T, rate", "seeds", "candidates behind a freeze", "top-1",
        "against all samples, points", "test top-1",
    )  # fmt: skip
    for family in results.families:
        full = results.early(family["name"])
        if not any(group.rows for group in sampled(results, family["name"])):
            continue
        groups = [g for g in sampled(results, family["name"]) if g.variant["sampling"] == "top"]
        for group in ([full] if full and groups else []) + groups:
            rows.append([
                f"{family['label']}, {family['sampled']:g}, {100 * group.variant['rate']:.0f} %",
                group.done,
                average([candidates_behind(row) for row in group.rows], 0),
                percent(values(group, "top1")),
                points(gains(group, full)) if group is not full else "",
                percent(values(group, "test_top1")),
            ])  # fmt: skip
        texts += rates_in_words(family, [g for g in groups if gains(g, full)], full)
        texts += frozen_in_words(family, groups)
    return [*markdown(columns, rows), *texts, ""]


def candidates_behind(row: Record) -> int:
    """The number of candidates that a search scored behind a frozen prefix, parents included."""
    return sum(each["candidates"] for each in row["generations"] if each["frozen"])


def rates_in_words(family: Record, groups: Sequence[Group], full: Group | None) -> list[str]:
    """A sentence on rates above and below the paper's 40 %."""
    means = {g.variant["rate"]: 100 * statistics.fmean(gains(g, full)) for g in groups}
    high = [value for rate, value in means.items() if rate >= 0.4]
    low = [value for rate, value in means.items() if rate < 0.4]
    if not high or not low:
        return []
    return [
        f"- **{family['label']}:** from 40 % on, the mean difference is between "
        f"{signed(min(high), 2)} and {signed(max(high), 2)} points; below it, between "
        f"{signed(min(low), 2)} and {signed(max(low), 2)}."
    ]


def frozen_in_words(family: Record, groups: Sequence[Group]) -> list[str]:
    """A sentence on how many searches ever ranked on a selection."""
    rows = [row for group in groups for row in group.rows]
    froze = sum(row["generations"][-1]["frozen"] > 0 for row in rows)
    if not rows or froze == len(rows):
        return []
    return [
        f"- **{family['label']}:** {froze} of {len(rows)} of these searches froze blocks; the "
        "others ranked on all samples to the end."
    ]


def table_3(results: Results) -> list[str]:
    """Ways of sampling by rate."""
    lines: list[str] = []
    for family in results.families:
        groups = sampled(results, family["name"])
        compared = {g.variant["rate"] for g in groups if g.variant["sampling"] != "top"}
        rates = sorted(compared, reverse=True)
        modes = dict.fromkeys(group.variant["sampling"] for group in groups)
        found = {(g.variant["sampling"], g.variant["rate"]): g for g in groups}
        rows = [
            [f"{family['label']}, {NAMES[mode]}", *(cell(found.get((mode, r))) for r in rates)]
            for mode in modes
        ]
        if family["name"] == "spos" and rows:
            rows += [
                [
                    f"paper: {name} sampling",
                    *(f"{own[r]} %" if r in own else NOTHING for r in rates),
                ]
                for name, own in TABLE_3.items()
            ]
        if any(group.rows for group in groups):
            columns = ("sampling", *(f"{100 * rate:.0f} %" for rate in rates))
            lines += [*markdown(columns, rows), *frozen_in_words(family, groups), ""]
    return lines


def table_4(results: Results) -> list[str]:
    """Bits by rate."""
    groups = results.groups(
        "spos", lambda v: v["method"] == "pcf" and v["sampling"] == "top" and v["rate"] < 1.0
    )
    depths = sorted({group.variant["bits"] for group in groups}, reverse=True)
    kept = {group.variant["rate"] for group in groups if group.variant["bits"] != 32}
    found = {(g.variant["rate"], g.variant["bits"]): g for g in groups}
    rows = []
    for rate in sorted(kept, reverse=True):
        label = f"{100 * rate:.0f} %"
        rows.append([label, *(cell(found.get((rate, depth))) for depth in depths)])
        printed = TABLE_4.get(rate, {})
        rows.append([f"paper: {label}", *(f"{printed.get(depth, NOTHING)} %" for depth in depths)])
    if not any(group.rows for group in found.values()):
        return []
    spos = next(each for each in results.families if each["name"] == "spos")
    deep = [group for group in groups if group.variant["rate"] in kept]
    columns = ("rate", *(f"{depth} bits" for depth in depths))
    return [*markdown(columns, rows), *frozen_in_words(spos, deep), ""]


def cell(group: Group | None) -> str:
    """Top-1 of a group, and how many of its searches have been run if not all."""
    if group is None or not group.rows:
        return NOTHING
    whole = len(group.rows) == len(group.seeds)
    return percent(values(group, "top1")) + ("" if whole else f" ({group.done})")
