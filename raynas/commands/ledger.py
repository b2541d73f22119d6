"""The `raynas ledger` commands: list, export and verify a file of scores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional, subcommand

from raynas.commands import terminal
from raynas.errors import InputError, require
from raynas.ledger.ledger import Context, Ledger
from raynas.ledger.rows import Entry
from raynas.ledger.score_key import ScoreKey
from raynas.space import encode

ROWS = 10_000
"""Of one row group of an exported file."""


def list_scores(path: Positional[Path]) -> None:
    """Show the keys of a ledger, how many architectures are scored under each, and the best.

    Args:
        path: the ledger.
    """
    with Ledger(path, read_only=True) as ledger:
        contexts = ledger.contexts()
    table = Table(title=f"{path}: {sum(context.architectures for context in contexts):,} scores")
    table.add_column("key", overflow="fold")
    for name in ("samples", "architectures", "best top-1"):
        table.add_column(name, justify="right")
    table.add_column("best architecture", overflow="fold")
    table.add_column("supernet, data and evaluation", overflow="fold")
    for context in contexts:
        table.add_row(*cells(context))
    terminal.make_console().print(table)


def export_scores(path: Positional[Path], out: Positional[Path]) -> None:
    """Write all scores of a ledger to a Parquet file, one row each.

    Args:
        path: the ledger.
        out: the Parquet file; it must not exist.
    """
    require(
        not out.exists(), "out", "a file that does not exist", out, "Remove it, or choose another."
    )
    with Ledger(path, read_only=True) as ledger:
        count = write_parquet(ledger.rows(), out)
    terminal.make_console().print(f"Exported {count:,} scores to {out}", soft_wrap=True)


def verify_scores(path: Positional[Path]) -> None:
    """Look for damage in a ledger; exit code 1 if there is any.

    Args:
        path: the ledger.
    """
    screen = terminal.make_console()
    with Ledger(path, read_only=True) as ledger:
        problems = ledger.verify()
        if not problems:
            count = sum(context.architectures for context in ledger.contexts())
            screen.print(f"{path}: {count:,} scores, no damage", soft_wrap=True)
            return
    for problem in problems:
        screen.print(problem, soft_wrap=True)
    sys.exit(1)


ListCommand = Annotated[Any, subcommand(name="list", constructor=list_scores)]
ExportCommand = Annotated[Any, subcommand(name="export", constructor=export_scores)]
VerifyCommand = Annotated[Any, subcommand(name="verify", constructor=verify_scores)]


def ledger(command: OmitArgPrefixes[ListCommand | ExportCommand | VerifyCommand]) -> None:
    """List, export or verify the scores that searches keep with --ledger.

    Args:
        command: what to do.
    """


def cells(context: Context) -> tuple[str, ...]:
    """A key as the cells of a table."""
    key, best = context.key, context.best
    evaluation = {name: value for name, value in key.evaluation.items() if value is not None}
    machine = evaluation.pop("machine", {})
    named = {"supernet": key.supernet[:8], "data": key.data[:8], **evaluation, **machine}
    return (
        key.digest[:8],
        f"{key.samples:,}",
        f"{context.architectures:,}",
        "" if best is None else f"{best.top1:.2%}",
        "" if best is None else encode(best.architecture),
        ", ".join(f"{name} {shown(value)}" for name, value in named.items()),
    )


def shown(value: Any) -> str:
    """A value of a key, short enough for a table."""
    if isinstance(value, dict) and "freezes" in value:
        prefixes = [encode(tuple(freeze["prefix"])) for freeze in value["freezes"]]
        return f"{value['bits']} bits at {' and '.join(prefixes)}"
    return str(value)


def write_parquet(rows: Iterable[tuple[ScoreKey, Entry]], out: Path) -> int:
    """Write scores as flat columns; the file appears whole or not at all.

    Returns:
        How many there were.

    Raises:
        InputError: the file exists by now, or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("supernet", "data", "key", "key_json")),
            ("architecture", pa.string()),
            ("choices", pa.list_(pa.int64())),
            *((name, pa.float64()) for name in ("top1", "top5", "loss")),
            *((name, pa.int64()) for name in ("correct", "samples")),
            ("finite", pa.bool_()),
        ]
    )
    count = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(part, schema) as writer:
            for group in groups(rows):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                count += len(group)
        os.link(part, out)
    except OSError as error:
        raise InputError(
            "out", "a new file that can be written", f"{out} ({error})", "Choose another place."
        ) from error
    finally:
        if part.exists():
            part.unlink()
    return count


def groups(rows: Iterable[tuple[ScoreKey, Entry]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of the file, a row group at a time."""
    waiting = iter(rows)
    while group := [flat(key, entry) for key, entry in islice(waiting, ROWS)]:
        yield group


def flat(key: ScoreKey, entry: Entry) -> dict[str, Any]:
    """One row of the file."""
    score = entry.score
    return {
        "supernet": key.supernet,
        "data": key.data,
        "key": key.digest,
        "key_json": key.text,
        "architecture": encode(score.architecture),
        "choices": list(score.architecture),
        "top1": score.top1,
        "top5": score.top5,
        "loss": score.loss,
        "correct": score.correct,
        "samples": score.samples,
        "finite": score.finite,
    }
