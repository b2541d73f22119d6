"""The `raynas ledger` commands: list, export and verify a file of scores."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from tyro.conf import Positional, subcommand

from raynas.commands import terminal
from raynas.commands.parsing import deferred
from raynas.errors import require
from raynas.files import file_beside
from raynas.ledger.ledger import Context, Ledger
from raynas.ledger.rows import Entry
from raynas.ledger.score_key import ScoreKey
from raynas.ledger.spaces import PricedSpace
from raynas.score import Score
from raynas.space import Architecture, encode

ROWS = 10_000
"""Rows of one group of an exported file."""

COLUMNS = (
    "supernet", "data", "key", "key_json", "architecture", "choices", "names", "loss", "correct",
    "samples", "finite",
)  # fmt: skip
"""Columns that every score has."""


def list_scores(path: Positional[Path]) -> None:
    """Show the keys of a ledger, how many architectures are scored under each, and the best.

    Costs for which searches of one supernet gave different tables are not shown.

    Args:
        path: the ledger.
    """
    with Ledger(path, read_only=True) as ledger:
        contexts = ledger.contexts()
        spaces = spaces_of(ledger, [context.key for context in contexts])
    table = Table(title=f"{path}: {sum(context.architectures for context in contexts):,} scores")
    table.add_column("key", overflow="fold")
    for name in ("samples", "architectures", "best"):
        table.add_column(name, justify="right")
    table.add_column("best architecture, its choices and costs", overflow="fold")
    table.add_column("supernet, data and evaluation", overflow="fold")
    for context in contexts:
        table.add_row(*cells(context, spaces.get(context.key.supernet)))
    terminal.make_console().print(table)


def export_scores(path: Positional[Path], out: Positional[Path]) -> None:
    """Write all scores of a ledger to a Parquet file, one row each, with names and costs.

    Costs for which searches of one supernet gave different tables are left out.

    Args:
        path: the ledger.
        out: the file to write, NAME.parquet; it must not exist.
    """
    require(
        out.suffix == ".parquet",
        "out",
        "a file named NAME.parquet, since that is what is written",
        out,
        f"Give {out.with_suffix('.parquet')}; pandas.read_parquet(…).to_csv(…) makes a CSV of it.",
    )
    require(
        not out.exists(), "out", "a file that does not exist", out, "Remove it, or choose another."
    )
    with Ledger(path, read_only=True) as ledger:
        rows = list(ledger.rows())
        spaces = spaces_of(ledger, [key for key, _ in rows])
    write_parquet(rows, spaces, out)
    terminal.make_console().print(f"Exported {len(rows):,} scores to {out}", soft_wrap=True)


def verify_scores(path: Positional[Path]) -> None:
    """Look for damage in a ledger; exit code 1 if there is any.

    Args:
        path: the ledger.
    """
    screen = terminal.make_console()
    with Ledger(path, read_only=True) as ledger:
        problems = ledger.verify()
        if not problems:
            count = sum(count for _, count in ledger.counts())
            screen.print(f"{path}: {count:,} scores, no damage", soft_wrap=True)
            return
    for problem in problems:
        screen.print(problem, soft_wrap=True)
    sys.exit(1)


ListCommand = Annotated[Any, subcommand(name="list", constructor=deferred(list_scores))]
ExportCommand = Annotated[Any, subcommand(name="export", constructor=deferred(export_scores))]
VerifyCommand = Annotated[Any, subcommand(name="verify", constructor=deferred(verify_scores))]


def ledger(command: ListCommand | ExportCommand | VerifyCommand) -> None:
    """List, export or verify the scores that searches keep with --ledger.

    Args:
        command: what to do.
    """
    command()


def spaces_of(ledger: Ledger, keys: Sequence[ScoreKey]) -> dict[str, PricedSpace]:
    """Names and costs of the keys' supernets, by digest, as far as searches have told them."""
    found = {digest: ledger.space(digest) for digest in {key.supernet for key in keys}}
    return {digest: space for digest, space in found.items() if space is not None}


def cells(context: Context, space: PricedSpace | None) -> tuple[str, ...]:
    """A key as the cells of a table."""
    key, best = context.key, context.best
    evaluation = {name: value for name, value in key.evaluation.items() if value is not None}
    machine = evaluation.pop("machine", {})
    named = {"supernet": key.supernet[:8], "data": key.data[:8], **evaluation, **machine}
    return (
        key.digest[:8],
        f"{key.samples:,}",
        f"{context.architectures:,}",
        "" if best is None else shown_value(best),
        "" if best is None else described(best.architecture, space),
        ", ".join(f"{name} {shown(value)}" for name, value in named.items()),
    )


def described(architecture: Architecture, space: PricedSpace | None) -> str:
    """An architecture, the names of its choices, and its costs."""
    if space is None or not space.holds(architecture):
        return encode(architecture)
    costs = space.costs(architecture).items()
    told = [terminal.named_cost(name, cost) for name, cost in costs]
    told += [f"{name} by different tables" for name in sorted(space.disputed)]
    return ", ".join([f"{encode(architecture)} ({space.named(architecture)})", *told])


def shown_value(score: Score) -> str:
    """The first objective of a score by its name; a share of correct samples in percent."""
    name = next(iter(score.objectives))
    return f"{name} {score.value:.6g}" if score.correct is None else f"{name} {score.value:.2%}"


def shown(value: Any) -> str:
    """A value of a key, short enough for a table."""
    if isinstance(value, dict) and "freezes" in value:
        prefixes = [encode(tuple(freeze["prefix"])) for freeze in value["freezes"]]
        return f"{value['bits']} bits at {' and '.join(prefixes)}"
    return str(value)


def write_parquet(
    rows: Sequence[tuple[ScoreKey, Entry]], spaces: Mapping[str, PricedSpace], out: Path
) -> None:
    """Write scores as flat columns, one per objective and per cost.

    The file appears whole or not at all. Names and costs that no search has told are null.

    Raises:
        InputError: the file exists by now, or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for _, entry in rows for name in entry.score.objectives)
    costs = dict.fromkeys(name for space in spaces.values() for name in space.tables)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("supernet", "data", "key", "key_json")),
            ("architecture", pa.string()),
            ("choices", pa.list_(pa.int64())),
            ("names", pa.string()),
            *((column(name), pa.float64()) for name in names),
            ("loss", pa.float64()),
            *((name, pa.int64()) for name in ("correct", "samples")),
            ("finite", pa.bool_()),
            *((f"cost_{name}", pa.float64()) for name in costs),
        ]
    )
    with file_beside(out, "out", new=True) as part, pq.ParquetWriter(part, schema) as writer:
        for start in range(0, len(rows), ROWS):
            group = [
                flat(key, entry, spaces.get(key.supernet))
                for key, entry in rows[start : start + ROWS]
            ]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def flat(key: ScoreKey, entry: Entry, space: PricedSpace | None) -> dict[str, Any]:
    """One row of the file."""
    score = entry.score
    if space is not None and not space.holds(score.architecture):
        space = None
    costs = {} if space is None else space.costs(score.architecture)
    return {
        **{f"cost_{name}": float(cost) for name, cost in costs.items()},
        **{column(name): value for name, value in score.objectives.items()},
        "supernet": key.supernet,
        "data": key.data,
        "key": key.digest,
        "key_json": key.text,
        "architecture": encode(score.architecture),
        "choices": list(score.architecture),
        "names": None if space is None else space.named(score.architecture),
        "loss": score.loss,
        "correct": score.correct,
        "samples": score.samples,
        "finite": score.finite,
    }


def column(objective: str) -> str:
    """The name of an objective's column, apart from those that every score has."""
    return f"objective_{objective}" if objective in COLUMNS else objective
