"""Sections on what populations choose: Figures 2, 3 and 5."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from raynas.files import Record
from reproduction.observations import Distances, distances, following, majority_shares
from reproduction.tables import NOTHING, Group, Results, average, markdown, pairs

SHOWN = (1, 2, 3, 5, 8, 10, 15, 20)
"""Generations that Figure 2's table shows."""

DOMINANT = 0.7
"""The share from which a choice counts as its block's clear majority (the paper's threshold)."""


def figure_2(results: Results) -> list[str]:
    """The share of each block's majority choice in the populations of EA."""
    lines: list[str] = []
    for family in results.families:
        group = results.plain(family["name"], "ea")
        if group is None or not group.rows:
            continue
        every = [majority_shares(row["counts"]) for row in group.rows]
        blocks = len(group.rows[0]["choices"])
        columns = ("block", "choices", *map(str, SHOWN), f"above {DOMINANT:.0%} from")
        rows = [
            [
                str(block + 1),
                str(group.rows[0]["choices"][block]),
                *(share_at(every, number - 1, block) for number in SHOWN),
                dominant(every, block),
            ]
            for block in range(blocks)
        ]
        lines += [f"**{family['label']}**: per cent of EA's population that takes the majority "
                  f"choice, by generation, mean of {len(every)} searches", ""]  # fmt: skip
        lines += [*markdown(columns, rows), shallow_and_deep(family, every), ""]
    return lines


def share_at(every: Sequence[list[list[float] | None]], number: int, block: int) -> str:
    """The mean share of a block's majority choice in one generation, in per cent."""
    found = [own[number] for own in every if number < len(own)]
    shares = [each[block] for each in found if each is not None]
    return f"{100 * statistics.fmean(shares):.0f}" if shares else NOTHING


def dominant(every: Sequence[list[list[float] | None]], block: int) -> str:
    """The median generation from which a block's majority choice is clear, and in how many."""
    first = [
        next((n for n, each in enumerate(own, 1) if each and each[block] > DOMINANT), None)
        for own in every
    ]
    known = [number for number in first if number is not None]
    return f"{statistics.median(known):g} ({len(known)} of {len(first)})" if known else "never"


def shallow_and_deep(family: Record, every: Sequence[list[list[float] | None]]) -> str:
    """A sentence on the first and the last third of the blocks at half time and at the end."""
    length = min(len(own) for own in every)
    texts = []
    for number in (length // 2, length):
        populations = [own[number - 1] for own in every]
        told = [each for each in populations if each is not None]
        if not told:
            continue
        third = max(1, len(told[0]) // 3)
        first, last = (
            100 * statistics.fmean(value for each in told for value in part(each, third))
            for part in (lambda each, n: each[:n], lambda each, n: each[-n:])
        )
        texts.append(f"{first:.0f} % in the first third and {last:.0f} % in the last, in "
                     f"generation {number}")  # fmt: skip
    return f"- **{family['label']}:** the mean majority share of blocks is {'; '.join(texts)}."


def figure_3(results: Results) -> list[str]:
    """Distances of shallow blocks' choices to the first and the last best architecture."""
    columns = (
        "supernet", "T", "searches with a majority", "generation", "shallow blocks",
        "before: to first", "before: to last", "majority: to first", "majority: to last",
    )  # fmt: skip
    rows, texts = [], []
    for family in results.families:
        group = results.plain(family["name"], "ea")
        if group is None or not group.rows:
            continue
        threshold = family["freezing"]["cf"]
        found = [distances(row, threshold) for row in group.rows]
        known = [each for each in found if each is not None]
        label = [family["label"], f"{threshold:g}", f"{len(known)} of {len(found)}"]
        rows.append([*label, *(distance_cells(known) if known else [NOTHING] * 6)])
        if known:
            near = sum(each.after[1] < each.after[0] for each in known)
            texts.append(
                f"- **{family['label']}:** the majority is nearer to the last best architecture "
                f"than to the first in {near} of {len(known)} searches, and equals the last in "
                f"{sum(each.after[1] == 0 for each in known)}."
            )
    return [*markdown(columns, rows), *texts, ""]


def distance_cells(known: Sequence[Distances]) -> list[str]:
    """Means over searches."""
    ends = [
        statistics.fmean(getattr(each, half)[end] for each in known)
        for half in ("before", "after")
        for end in (0, 1)
    ]
    return [
        average([each.generation for each in known]),
        average([each.blocks for each in known]),
        *(f"{value:.2f}" for value in ends),
    ]


def figure_5(results: Results) -> list[str]:
    """The majority share of the block behind the first freeze, with the freeze and without."""
    after = tuple(f"+{number}" for number in range(5))
    columns = ("supernet, seed", "frozen", "from generation", "search", "before", *after)
    rows, texts = [], []
    for family in results.families:
        group = results.plain(family["name"], "cf")
        if group is None:
            continue
        grown: list[tuple[float, float]] = []
        for row, free in pairs(group, results.plain(family["name"], "ea")):
            found = following(row, free)
            if found is None:
                continue
            start = [f"{family['label']}, {row['seed']}", str(found.blocks), str(found.generation)]
            rows.append([*start, group.label, *cells(found.shares)])
            rows.append(["", "", "", "EA", *cells(found.free)])
            last = growth(found.shares, found.free)
            grown += [last] if last is not None else []
        texts += growth_in_words(family, group, grown)
    return [*markdown(columns, rows), *texts, ""]


def cells(shares: Sequence[float | None]) -> list[str]:
    """Shares in per cent."""
    return [NOTHING if each is None else f"{100 * each:.0f}" for each in shares]


def growth(
    frozen: Sequence[float | None], free: Sequence[float | None]
) -> tuple[float, float] | None:
    """The growth of both shares to the last generation that both have; `None` without one."""
    both = [(a, b) for a, b in zip(frozen, free, strict=True) if a is not None and b is not None]
    if len(both) < 2:
        return None
    return both[-1][0] - both[0][0], both[-1][1] - both[0][1]


def growth_in_words(
    family: Record, group: Group, grown: Sequence[tuple[float, float]]
) -> list[str]:
    """A sentence on whether a freeze makes the next block agree sooner."""
    if not grown:
        return [f"- **{family['label']}:** no search froze some blocks and left others."] if (
            group.rows
        ) else []  # fmt: skip
    frozen, free = (100 * statistics.fmean(own) for own in zip(*grown, strict=True))
    more = sum(a > b for a, b in grown)
    return [
        f"- **{family['label']}:** behind the freeze the next block's majority grows by "
        f"{frozen:+.0f} points, without it by {free:+.0f} (means of {len(grown)}); more with the "
        f"freeze in {more} of them."
    ]
