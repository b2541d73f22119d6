"""The names and costs of the architectures of a ledger, kept beside their scores.

A key holds no more of a supernet than its digest. What a search knows of it lets a listing show
names and costs; no score depends on them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from raynas.costs.tables import CostTable
from raynas.errors import InputError
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
    """

    names: tuple[tuple[str, ...], ...]
    tables: Mapping[str, CostTable]

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
        return json.dumps({"names": self.names, "tables": tables}, sort_keys=True)

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
            return PricedSpace(tuple(map(tuple, content["names"])), tables)
        except (InputError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error


def write(connection: sqlite3.Connection, supernet: str, space: PricedSpace) -> None:
    """Keep the names and costs of a supernet; costs that are known by other names stay.

    Args:
        connection: in a transaction.
        supernet: its digest.
        space: of its choices. A cost that is known by this name was measured again.
    """
    known = read(connection, supernet)
    if known is not None:
        space = PricedSpace(space.names, {**known.tables, **space.tables})
    connection.execute(CREATE)
    connection.execute("REPLACE INTO spaces VALUES (?, ?)", (supernet, space.text))


def read(connection: sqlite3.Connection, supernet: str) -> PricedSpace | None:
    """The names and costs of the supernet with a digest; `None` if they are not known."""
    there = "SELECT count(*) FROM sqlite_master WHERE name = 'spaces'"
    if connection.execute(there).fetchone() == (0,):
        return None
    query = "SELECT content FROM spaces WHERE supernet = ?"
    row = connection.execute(query, (supernet,)).fetchone()
    try:
        return None if row is None else PricedSpace.parse(row[0])
    except ValueError:
        # Nothing of a score is lost with it, and the next search writes it again.
        return None
