"""Rows of a report, found again by what was searched, and values as they stand in a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from raynas.files import Record

LABELS = {"ea": "EA", "cf": "CF-ES", "pcf": "PCF-ES"}
METHODS = ("ea", "cf", "pcf")
NOTHING = "—"


@final
@dataclass(frozen=True)
class Group:
    """Searches that differ in their seeds alone.

    Args:
        family: the name of the supernet.
        variant: the way that was searched.
        seeds: that are wanted.
        rows: of those that have been searched.
    """

    family: str
    variant: Record
    seeds: tuple[int, ...]
    rows: tuple[Record, ...]

    @property
    def label(self) -> str:
        """The name of the method."""
        return LABELS[self.variant["method"]]

    @property
    def done(self) -> str:
        """The number of searches that have been run, in words."""
        count = len(self.rows)
        return str(count) if count == len(self.seeds) else f"{count} of {len(self.seeds)}"


@final
@dataclass(frozen=True)
class Results:
    """A report as `experiments/reproduce.py` writes it.

    Args:
        report: the JSON object.
    """

    report: Record

    @property
    def families(self) -> list[Record]:
        """The supernets, in order."""
        return list(self.report["families"])

    def groups(
        self, family: str, keep: Callable[[Record], bool], data: str | None = None
    ) -> list[Group]:
        """The searches of a supernet whose variant is kept, grouped by it, in the order wanted.

        Args:
            family: the name of the supernet.
            keep: whether a variant is kept.
            data: the name of the data set; the main one if omitted.
        """
        main = self.report["data"][0]["name"]
        wanted = [
            each for each in self.report["wanted"]
            if (each["family"], each["data"]) == (family, data or main) and keep(each["variant"])
        ]  # fmt: skip
        done = {key_of(row): row for row in self.report["rows"]}
        names = dict.fromkeys(each["name"] for each in wanted)
        return [self._group([e for e in wanted if e["name"] == name], done) for name in names]

    def _group(self, wanted: Sequence[Record], done: dict[Any, Record]) -> Group:
        rows = [done[key_of(each)] for each in wanted if key_of(each) in done]
        seeds = tuple(each["seed"] for each in wanted)
        return Group(wanted[0]["family"], wanted[0]["variant"], seeds, tuple(rows))

    def plain(self, family: str, method: str, data: str | None = None) -> Group | None:
        """The row of Table 1 of one method, if it is wanted."""
        known = {each["name"]: each["freezing"] for each in self.families}
        freezing = known.get(family, {"monitor": None})

        def keep(variant: Record) -> bool:
            own = freezing.get(method)
            monitor = freezing["monitor"] if method == "pcf" else None
            return (
                variant["method"] == method
                and on_all_samples(variant)
                and not variant["timed"]
                and (variant["threshold"], variant["monitor"]) == (own, monitor)
            )

        return next(iter(self.groups(family, keep, data)), None)

    def early(self, family: str) -> Group | None:
        """PCF-ES on all samples at the threshold where samples and bits are varied."""
        own = next(e for e in self.families if e["name"] == family)

        def keep(variant: Record) -> bool:
            settings = (variant["threshold"], variant["monitor"])
            wanted = (own["sampled"], own["freezing"]["monitor"])
            return on_all_samples(variant) and not variant["timed"] and settings == wanted

        return next(iter(self.groups(family, keep)), None)

    def timed(self, family: str, data: str | None = None) -> list[Group]:
        """The searches whose seconds count."""
        return self.groups(family, lambda variant: variant["timed"], data)


def on_all_samples(variant: Record) -> bool:
    """Whether candidates are ranked on all samples, stored as they are."""
    return bool(variant["rate"] == 1.0 and variant["bits"] == 32)


def key_of(row: Record) -> tuple[Any, ...]:
    """The part of a row, or of what is wanted, that says which search it is."""
    return tuple(row[name] for name in ("data", "family", "name", "seed"))


def pairs(group: Group, base: Group | None) -> Iterator[tuple[Record, Record]]:
    """Rows of a group, each with that of another group that has the same seed."""
    by_seed = {row["seed"]: row for row in base.rows} if base else {}
    return ((row, by_seed[row["seed"]]) for row in group.rows if row["seed"] in by_seed)


def work(row: Record, kind: str = "plain") -> int:
    """Blocks times images of all generations; see `reproduction.rows`."""
    return sum(each[kind] for each in row["generations"])


def savings(group: Group, base: Group | None, kind: str = "plain") -> list[float]:
    """The share of the other group's block executions that each search saves."""
    return [1.0 - work(own, kind) / work(other, kind) for own, other in pairs(group, base)]


def gains(group: Group, base: Group | None, key: str = "top1") -> list[float]:
    """By how much each search is better than that of the other group with its seed."""
    return [own[key] - other[key] for own, other in pairs(group, base)]


def seconds_of(row: Record) -> list[float]:
    """Seconds of each generation, of processor time where it was measured."""
    cpu = [each["cpu_seconds"] for each in row["generations"]]
    return [each["seconds"] for each in row["generations"]] if None in cpu else cpu


def values(group: Group, key: str) -> list[float]:
    """One field of each row that has it."""
    return [row[key] for row in group.rows if row.get(key) is not None]


def percent(numbers: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation of shares, in per cent."""
    if not numbers:
        return NOTHING
    text = f"{100 * statistics.fmean(numbers):.{digits}f}"
    if len(numbers) > 1:
        text += f" ± {100 * statistics.stdev(numbers):.{digits}f}"
    return f"{text} %"


def points(numbers: Sequence[float]) -> str:
    """Mean of differences of shares with their range, in points."""
    if not numbers:
        return NOTHING
    low, mean, high = (100 * f(numbers) for f in (min, statistics.fmean, max))
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})" if len(numbers) > 1 else f"{mean:+.2f}"


def share(numbers: Sequence[float]) -> str:
    """Median of shares with their range, in whole per cent."""
    if not numbers:
        return NOTHING
    low, middle, high = (f"{100 * f(numbers):.0f}" for f in (min, statistics.median, max))
    return f"{middle} % ({low} to {high})" if len(numbers) > 1 else f"{middle} %"


def average(numbers: Sequence[float], digits: int = 1) -> str:
    """The mean of numbers."""
    return f"{statistics.fmean(numbers):,.{digits}f}" if numbers else NOTHING


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign."""
    return f"{value:+.{digits}f}"


def told(value: object) -> str:
    """A setting, or a dash for none."""
    return NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def not_run(labels: Sequence[str]) -> list[str]:
    """A line on the supernets of which nothing has been run; none if there are none."""
    return [f"- Not run yet: {', '.join(labels)}."] if labels else []


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, none without rows; the first column is text, the others are numbers."""
    if not rows:
        return []
    rule = ["---", *("---:" for _ in columns[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows)] + [""]
