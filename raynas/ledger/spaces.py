"""The names and costs of the architectures of a ledger, kept beside their scores.

A key holds no more of a supernet than its digest. What a search knows of it lets a listing show
names and costs; no score depends on them. Nothing says which search a score is from: where two gave
different costs under one name, as two measurements of latency do, the ledger holds neither, and
only that they differ. The records of the searches have theirs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from raynas.costs.tables import CostTable
from raynas.errors import InputError, describe_error
from raynas.ledger.score_key import ScoreKey
from raynas.space import Architecture

# Ledgers of this format that are older lack the table.
CREATE = """
CREATE TABLE IF NOT EXISTS spaces (
    supernet TEXT PRIMARY KEY,
    content TEXT NOT NULL
)
"""


@final
@dataclass(frozen=True)
class PricedSpace:
    """The names and costs of a supernet's choices.

    Args:
        names: of the choices of each block.
        tables: costs by name.
        disputed: names under which searches gave different costs.

    Raises:
        ValueError: costs of other choices than those that have names.
    """

    names: tuple[tuple[str, ...], ...]
    tables: Mapping[str, CostTable]
    disputed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        counts = [len(names) for names in self.names]
        for name, table in self.tables.items():
            if [len(costs) for costs in table.blocks] != counts:
                raise ValueError(f"the costs {name!r} are of other choices than the names")

    def holds(self, architecture: Architecture) -> bool:
        """Whether these are names and costs of such an architecture."""
        counts = [len(names) for names in self.names]
        return len(architecture) == len(counts) and all(
            0 <= choice < count for choice, count in zip(architecture, counts, strict=True)
        )

    def named(self, architecture: Architecture) -> str:
        """The names of an architecture's choices, as one text."""
        chosen = zip(self.names, architecture, strict=True)
        return " ".join(names[choice] for names, choice in chosen)

    def costs(self, architecture: Architecture) -> dict[str, int | float]:
        """The costs of an architecture by name."""
        return {name: table.of(architecture) for name, table in self.tables.items()}

    @property
    def text(self) -> str:
        """All of it as JSON."""
        tables = {name: [each.base, each.blocks] for name, each in self.tables.items()}
        content: dict[str, Any] = {"names": self.names, "tables": tables}
        if self.disputed:
            content["disputed"] = sorted(self.disputed)
        return json.dumps(content, sort_keys=True)

    @staticmethod
    def parse(text: str) -> PricedSpace:
        """The space of such a text.

        Raises:
            ValueError: the text is of something else.
        """
        try:
            content: Any = json.loads(text)
            tables = {
                name: CostTable(name, base, blocks)
                for name, (base, blocks) in content["tables"].items()
            }
            names = tuple(tuple(map(as_name, block)) for block in content["names"])
            return PricedSpace(names, tables, frozenset(content.get("disputed", ())))
        except (InputError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(describe_error(error)) from error


def as_name(value: object) -> str:
    """The name of a choice; `TypeError` for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} instead of the name of a choice")
    return value


def write(connection: sqlite3.Connection, supernet: str, space: PricedSpace) -> None:
    """Keep the names and costs of a supernet; costs that are known by other names stay.

    Args:
        connection: in a transaction.
        supernet: its digest.
        space: of its choices. A cost that is known by this name, but another one, is disputed from
            now on: it was measured again.
    """
    known = read(connection, supernet)
    if known is not None:
        again = known.tables.keys() & space.tables.keys()
        disputed = {name for name in again if known.tables[name] != space.tables[name]}
        disputed |= known.disputed | space.disputed
        both = {**known.tables, **space.tables}
        tables = {name: table for name, table in both.items() if name not in disputed}
        space = PricedSpace(space.names, tables, frozenset(disputed))
    connection.execute(CREATE)
    connection.execute("REPLACE INTO spaces VALUES (?, ?)", (supernet, space.text))


def read(connection: sqlite3.Connection, supernet: str) -> PricedSpace | None:
    """The names and costs of the supernet with a digest; `None` if they are not known."""
    if not is_there(connection):
        return None
    query = "SELECT content FROM spaces WHERE supernet = ?"
    row = connection.execute(query, (supernet,)).fetchone()
    try:
        return None if row is None else PricedSpace.parse(row[0])
    except ValueError:
        # Nothing of a score is lost with it, and the next search writes it again.
        return None


def of_key(connection: sqlite3.Connection, key: str) -> PricedSpace | None:
    """The names and costs of the supernet of a key's text, as far as both can be read."""
    try:
        return read(connection, ScoreKey.parse(key).supernet)
    except ValueError:
        return None


def damage(connection: sqlite3.Connection) -> Iterator[str]:
    """The supernets whose names and costs cannot be read, a line each."""
    if is_there(connection):
        query = "SELECT supernet, content FROM spaces ORDER BY supernet"
        for supernet, content in connection.execute(query).fetchall():
            try:
                PricedSpace.parse(content)
            except ValueError as error:
                yield f"supernet {supernet}: its names and costs are damaged ({error})"


def is_there(connection: sqlite3.Connection) -> bool:
    """Whether a ledger has the table."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'spaces'"
    return bool(connection.execute(query).fetchone() == (1,))
