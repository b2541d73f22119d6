"""Sections on the settings of choice freezing: Figures 9 and 10."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from raynas.files import Record
from reproduction.tables import (
    Group,
    Results,
    average,
    gains,
    markdown,
    on_all_samples,
    percent,
    points,
    savings,
    share,
    signed,
    told,
    values,
)


def figure_9(results: Results) -> list[str]:
    """PCF-ES at several thresholds, with monitor size 3."""
    columns = ("supernet, T", *ENDS)
    rows, texts = [], []
    for family in results.families:
        groups = results.groups(
            family["name"],
            lambda v: v["method"] == "pcf" and v["monitor"] == 3 and on_all_samples(v)
            and not v["timed"],
        )  # fmt: skip
        groups = sorted(groups, key=lambda group: group.variant["threshold"])
        base = results.plain(family["name"], "ea")
        if len(groups) < 2 or not any(group.rows for group in groups):
            continue
        for group in groups:
            label = f"{family['label']}, {group.variant['threshold']:g}"
            rows.append([label, *ends(group, base)])
        texts += compared(family, [g for g in groups if gains(g, base)], base, "threshold", "T = ")
    return [*markdown(columns, rows), *texts, ""]


def figure_10(results: Results) -> list[str]:
    """PCF-ES at several monitor sizes, with the threshold of Table 1."""
    columns = ("supernet, monitor size", *ENDS)
    rows, texts = [], []
    for family in results.families:
        threshold = family["freezing"]["pcf"]

        def keep(variant: Record, threshold: float = threshold) -> bool:
            return bool(
                variant["method"] == "pcf" and variant["threshold"] == threshold
                and on_all_samples(variant) and not variant["timed"]
            )  # fmt: skip

        groups = results.groups(family["name"], keep)
        groups = sorted(groups, key=lambda group: group.variant["monitor"])
        base = results.plain(family["name"], "ea")
        if len(groups) < 2 or not any(group.rows for group in groups):
            continue
        for group in groups:
            rows.append([f"{family['label']}, {group.variant['monitor']}", *ends(group, base)])
        found = [group for group in groups if gains(group, base)]
        texts += compared(family, found, base, "monitor", "size ")
    return [*markdown(columns, rows), *texts, ""]


ENDS = (
    "seeds", "top-1", "against EA, points", "test top-1", "saved, one at a time",
    "saved, shared prefixes", "generations", "frozen in the end", "evaluations",
)  # fmt: skip
"""Columns on how searches end."""


def ends(group: Group, base: Group | None) -> list[str]:
    """Cells on how searches end."""
    last = [row["generations"][-1]["frozen"] for row in group.rows]
    return [
        group.done,
        percent(values(group, "top1")),
        points(gains(group, base)),
        percent(values(group, "test_top1")),
        share(savings(group, base)),
        share(savings(group, base, "trie")),
        average([len(row["generations"]) for row in group.rows]),
        average(last),
        average(values(group, "evaluations"), 0),
    ]


def compared(
    family: Record, groups: Sequence[Group], base: Group | None, field: str, unit: str
) -> list[str]:
    """A sentence on how a setting moves accuracy and savings."""
    if len(groups) < 2:
        return []
    means = [statistics.fmean(gains(group, base)) for group in groups]
    best, worst = means.index(max(means)), means.index(min(means))
    saves = [statistics.median(savings(group, base)) for group in groups]
    steps = list(pairwise(saves))
    way = (
        "never falls" if all(b >= a for a, b in steps)
        else "never rises" if all(b <= a for a, b in steps) else "goes up and down"
    )  # fmt: skip
    accuracy = (
        f"best at {unit}{told(groups[best].variant[field])} ({signed(100 * means[best], 2)} points "
        f"against EA), worst at {unit}{told(groups[worst].variant[field])} "
        f"({signed(100 * means[worst], 2)})"
    )
    if means[best] == means[worst]:
        accuracy = f"no difference in top-1 ({signed(100 * means[best], 2)} points against EA)"
    return [
        f"- **{family['label']}:** {accuracy}; what is saved {way} from "
        f"{unit}{told(groups[0].variant[field])} ({100 * saves[0]:.0f} %) to "
        f"{unit}{told(groups[-1].variant[field])} ({100 * saves[-1]:.0f} %)."
    ]
