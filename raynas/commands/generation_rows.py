"""One generation as a row of columns that fit a terminal's width."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from rich.text import Text

from raynas.files import Record
from raynas.generation import median_of, objective_of

BAR = 10
"""The cells of the bar of frozen blocks."""

ASCII = str.maketrans("█░", "#-")
"""The characters of that bar where a terminal knows no others."""

GAP = "  "
NOTHING = "-"

Cell = str | Text


@final
@dataclass(frozen=True)
class Column:
    """One column of the table of generations.

    Args:
        head: its heading.
        width: in cells; longer values move what is behind them.
        cell: its content, from the record and the metrics of a generation; `None` if not known.
        left: whether it is aligned to the left.
    """

    head: str
    width: int
    cell: Callable[[Record, Record], Cell | None]
    left: bool = False

    def show(self, content: Cell) -> Text:
        """The content within the column's width."""
        text = content if isinstance(content, Text) else Text(content)
        text.align("left" if self.left else "right", max(self.width, text.cell_len))
        return text


def amount(name: str | None, value: float | None) -> str | None:
    """The value of an objective: a share in per cent, anything else as a number."""
    if name is None or value is None:
        return None
    return f"{value:.2%}" if name in ("top1", "top5") else f"{value:.4f}"


def scored(record: Record) -> list[Record]:
    """All candidates of a generation."""
    return [*record["rescored"], *record["population"]]


def best(record: Record, metrics: Record) -> str | None:
    """The best candidate so far."""
    name = objective_of(record)
    return amount(name, None if name is None else record["best"][name])


def median(record: Record, metrics: Record) -> str | None:
    """The median of the generation's candidates."""
    return amount(objective_of(record), median_of(record))


def blocks_of(record: Record) -> int | None:
    """The number of blocks of the supernet; `None` where nothing has been scored."""
    candidates = [*scored(record), *filter(None, [record["best"]])]
    return len(candidates[0]["architecture"]) if candidates else None


def frozen(record: Record, metrics: Record) -> Text:
    """The frozen blocks as a bar that fills, and as a number."""
    count, blocks = record["frozen"], blocks_of(record) or record["frozen"]
    filled = round(BAR * count / blocks) if blocks else 0
    bar = Text("█" * filled, "cyan").append("░" * (BAR - filled), "dim")
    return bar.append(f" {count:2d}/{blocks}", "default")


def known(record: Record, metrics: Record) -> str | None:
    """The share of candidates whose scores a ledger knew."""
    if not metrics.get("known") or not metrics.get("candidates"):
        return None
    return f"{metrics['known'] / metrics['candidates']:.0%}"


def shared(record: Record, metrics: Record) -> str | None:
    """The share of block forwards that prefixes, shared and frozen, have saved."""
    alone = metrics.get("block_forwards_alone")
    return f"{1 - metrics['block_forwards'] / alone:.0%}" if alone else None


def seconds(record: Record, metrics: Record) -> str | None:
    """The seconds of a generation."""
    return f"{metrics['seconds']:,.2f}" if "seconds" in metrics else None


def joules(record: Record, metrics: Record) -> str | None:
    """The energy of a generation; an estimate is marked."""
    energy = metrics.get("energy_j")
    if energy is None:
        return None
    return f"{'~' * (metrics.get('energy_source') == 'estimated')}{energy:,.0f}"


COLUMNS: Mapping[str, Column] = {
    "generation": Column("gen", 4, lambda record, _: str(record["generation"] + 1)),
    "best": Column("best", 8, best),
    "median": Column("median", 8, median),
    "frozen": Column("frozen", BAR + 6, frozen, left=True),
    "evaluations": Column("evals", 6, lambda record, _: f"{len(scored(record)):,}"),
    "known": Column("known", 6, known),
    "shared": Column("shared", 6, shared),
    "seconds": Column("seconds", 9, seconds),
    "joules": Column("joules", 9, joules),
}
"""All columns, by name, in their order."""

LEFT_OUT = ("known", "joules", "shared", "evaluations", "median", "frozen", "seconds")
"""The columns that a narrow terminal lacks, the first of them first."""


def fitting(names: Collection[str], width: int) -> list[str]:
    """The columns of these names, in their order, that fit a width; two of them always do."""
    chosen = [name for name in COLUMNS if name in names]
    for name in LEFT_OUT:
        if row_width(chosen) <= width:
            break
        if name in chosen:
            chosen.remove(name)
    return chosen


def row_width(names: Sequence[str]) -> int:
    """The cells of a row of these columns."""
    return sum(COLUMNS[name].width for name in names) + len(GAP) * (len(names) - 1)


def known_columns(record: Record, metrics: Record) -> set[str]:
    """The names of the columns that have a content for a generation."""
    return {name for name, each in COLUMNS.items() if each.cell(record, metrics) is not None}


def heading(names: Sequence[str]) -> Text:
    """The headings of columns."""
    cells = [COLUMNS[name].show(COLUMNS[name].head) for name in names]
    row = Text(GAP).join(cells)
    row.stylize("bold")
    return row


def generation_row(
    names: Sequence[str], record: Record, metrics: Record, *, ascii_only: bool = False
) -> Text:
    """One generation in these columns."""
    columns = [COLUMNS[name] for name in names]
    row = Text(GAP).join(each.show(each.cell(record, metrics) or NOTHING) for each in columns)
    if ascii_only:
        row.plain = row.plain.translate(ASCII)
    return row
