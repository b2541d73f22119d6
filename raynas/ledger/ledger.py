"""The ledger: scores that outlive their search, in one SQLite file.

A search looks up what it wants scored, evaluates only the rest, and adds it. Scores are kept apart
by their key, so runs, strategies and constraints share a ledger, also at the same time: every
`add` is one transaction of a write-ahead log, whole or absent whatever becomes of the process.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import final

from raynas.errors import InputError, require, require_flags
from raynas.files import as_path
from raynas.ledger import file as ledger_file
from raynas.ledger import spaces
from raynas.ledger.rows import COLUMNS, Entry, Row, damage, entry_of, row_of, summary
from raynas.ledger.score_key import ScoreKey, digest_of
from raynas.ledger.spaces import PricedSpace
from raynas.score import Score, rank_key
from raynas.space import Architecture, encode

LOOKED_UP = 500
"""Architectures in one query; older SQLite takes at most 999 values."""


@final
@dataclass(frozen=True)
class Context:
    """A summary of the scores that a ledger holds under one key.

    Args:
        key: that the scores are comparable under.
        architectures: how many are scored.
        best: the best of them, as a search ranks them; `None` if there are none.
    """

    key: ScoreKey
    architectures: int
    best: Score | None


@final
class Ledger:
    """An open ledger.

    Args:
        path: the file, created with its folder if missing; `None` keeps all in memory.
        read_only: for looking at a ledger that must exist already.

    Raises:
        InputError: a file that is not a ledger, or of a later format, or damaged, or a place that
            cannot be written to. Nothing has been changed then. Every method raises it, too, where
            the file cannot be read or written any more.
    """

    def __init__(self, path: Path | str | None = None, *, read_only: bool = False) -> None:
        require_flags(read_only=read_only)
        self.path = None if path is None else as_path(path, "ledger")
        self._connection = ledger_file.connect(self.path, read_only=read_only)
        self._own: dict[tuple[str, Architecture], Entry] = {}
        self._closing = weakref.finalize(self, self._connection.close)

    def known(
        self, key: ScoreKey, architectures: Iterable[Architecture]
    ) -> dict[Architecture, Entry]:
        """The entries of the architectures that are scored under the key.

        Raises:
            InputError: a score that is damaged.
        """
        asked = dict.fromkeys(tuple(each) for each in architectures)
        own = {each: self._own.get((key.digest, each)) for each in asked}
        found = {each: entry for each, entry in own.items() if entry is not None}
        wanted = iter([encode(each) for each in asked if each not in found])
        while texts := list(islice(wanted, LOOKED_UP)):
            marks = ", ".join("?" * len(texts))
            query = (
                f"SELECT {COLUMNS} FROM scores WHERE key = "
                f"(SELECT id FROM keys WHERE digest = ?) AND architecture IN ({marks})"
            )
            for row in self._select(query, key.digest, *texts):
                entry = self._read(key.digest, row)
                found[entry.score.architecture] = entry
        return found

    def add(self, key: ScoreKey, entries: Sequence[Entry]) -> None:
        """Write scores, all or none of them; on the disk when this returns.

        Args:
            key: that they were scored under.
            entries: those that are there already, with the same value, are left as they are; those
                that are not `lasting` are known to this object only, and not written.

        Raises:
            InputError: a score that is there already with another value, or one of other
                samples than the key has. Nothing has been added then.
        """
        rows = [row_of(key, entry) for entry in entries if entry.lasting]
        own = {tuple(e.score.architecture): e for e in entries if not e.lasting}
        self._own.update({(key.digest, each): entry for each, entry in own.items()})
        if not rows:
            return
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO keys (digest, content) VALUES (?, ?)",
                (key.digest, key.text),
            )
            query = "SELECT id FROM keys WHERE digest = ?"
            (number,) = connection.execute(query, (key.digest,)).fetchone()
            for row in rows:
                self._insert(connection, key, number, row)

    def complete(
        self,
        key: Callable[[], ScoreKey],
        architectures: Sequence[Architecture],
        evaluate: Callable[[list[Architecture]], Sequence[Entry]],
    ) -> tuple[list[Entry], int]:
        """Look scores up, evaluate what is missing, and add it.

        Args:
            key: gives the key that they are scored under. It is asked again after the evaluation,
                in which workers on a machine of another kind may have joined.
            architectures: whose scores are wanted.
            evaluate: gives an entry for each of the architectures that it is called with, none of
                them twice; it is not called if none is missing.

        Returns:
            One entry per architecture, in the order given, and how many of them were known.
        """
        entries = self.known(key(), architectures)
        known = sum(each in entries for each in architectures)
        missing = [each for each in dict.fromkeys(architectures) if each not in entries]
        if missing:
            evaluated = evaluate(missing)
            self.add(key(), evaluated)
            entries.update(zip(missing, evaluated, strict=True))
        return [entries[architecture] for architecture in architectures], known

    def describe(self, supernet: str, space: PricedSpace) -> None:
        """Keep the names and costs of the supernet with a digest, for those who list its scores."""
        with self._transaction() as connection:
            spaces.write(connection, supernet, space)

    def space(self, supernet: str) -> PricedSpace | None:
        """The names and costs of the supernet with a digest; `None` if no search told them."""
        with ledger_file.errors_of(self.path):
            return spaces.read(self._connection, supernet)

    def counts(self) -> list[tuple[ScoreKey, int]]:
        """Every key in the order added, and how many architectures are scored under it."""
        query = (
            "SELECT content, (SELECT count(*) FROM scores WHERE key = keys.id) "
            "FROM keys ORDER BY id"
        )
        return [(self._parse(content), count) for content, count in self._select(query)]

    def contexts(self) -> list[Context]:
        """Every key in the order added, how many architectures are scored, and the best.

        Raises:
            InputError: a score that is damaged.
        """
        return [
            Context(
                key, count, min((e.score for _, e in self.rows(key)), key=rank_key, default=None)
            )
            for key, count in self.counts()
        ]

    def rows(self, key: ScoreKey | None = None) -> Iterator[tuple[ScoreKey, Entry]]:
        """Every score with its key, in the order added.

        Args:
            key: of which scores are wanted; those of all if omitted.

        Raises:
            InputError: a score that is damaged.
        """
        wanted = [key] if key is not None else [each for each, _ in self.counts()]
        for each in wanted:
            query = (
                f"SELECT {COLUMNS} FROM scores WHERE key = "
                "(SELECT id FROM keys WHERE digest = ?) ORDER BY id"
            )
            for row in self._select(query, each.digest):
                yield each, self._read(each.digest, row)

    def verify(self) -> list[str]:
        """The damage of the file and its rows, a line each; empty if there is none."""
        try:
            names = spaces.damage(self._connection)
            return [*self._damaged_pages(), *self._damaged_rows(), *names]
        except sqlite3.DatabaseError as error:
            return [f"SQLite: {error}"]

    def close(self) -> None:
        """Let go of the file; happens by itself when the ledger is not needed any more."""
        self._closing()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _select(self, query: str, *values: object) -> list[Row]:
        with ledger_file.errors_of(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction, write-locked from the start, so that reads stay true until its end."""
        connection = self._connection
        with ledger_file.errors_of(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _insert(self, connection: sqlite3.Connection, key: ScoreKey, number: int, row: Row) -> None:
        """Add a row, or see that the one that is there says the same."""
        query = f"SELECT {COLUMNS} FROM scores WHERE key = ? AND architecture = ?"
        there = connection.execute(query, (number, row[0])).fetchone()
        if there is None:
            marks = ", ".join("?" * (1 + len(row)))
            connection.execute(
                f"INSERT INTO scores (key, {COLUMNS}) VALUES ({marks})", (number, *row)
            )
            return
        score = self._read(key.digest, there).score
        require(
            there[-1] == row[-1],
            "ledger",
            f"one score of an architecture under one key ({key.digest})",
            f"{summary(there)} of {list(score.architecture)} in {self.path or 'memory'}, and now "
            f"{summary(row)}",
            "Something that scores depend on is not in their key: use another ledger, and "
            "report this.",
        )

    def _read(self, digest: str, row: Row) -> Entry:
        """The entry of a row under the key with a digest.

        Raises:
            InputError: the row is damaged.
        """
        problem = damage(digest, row)
        require(
            problem is None,
            "ledger",
            "scores as they were written",
            f"{problem} for {row[0]} in {self.path}",
            "List the damage with raynas ledger verify, and use another ledger.",
        )
        return entry_of(row)

    def _parse(self, content: str) -> ScoreKey:
        try:
            return ScoreKey.parse(content)
        except ValueError as error:
            raise InputError(
                "ledger",
                "keys as they were written",
                f"{content!r} in {self.path} ({error})",
                "List the damage with raynas ledger verify, and use another ledger.",
            ) from error

    def _damaged_pages(self) -> list[str]:
        lines = [text for (text,) in self._connection.execute("PRAGMA integrity_check")]
        orphans = self._connection.execute("PRAGMA foreign_key_check").fetchall()
        found = [f"SQLite: {line}" for line in lines if line != "ok"]
        return found + [f"scores: row {row} has no key" for _, row, *_ in orphans]

    def _damaged_rows(self) -> Iterator[str]:
        """The damage of keys and scores, each named."""
        query = "SELECT id, digest, content FROM keys ORDER BY id"
        for number, digest, content in self._connection.execute(query).fetchall():
            if digest_of(str(content).encode()) != digest:
                yield f"key {digest}: its content has another digest"
            space = spaces.of_key(self._connection, str(content))
            query = f"SELECT {COLUMNS} FROM scores WHERE key = ? ORDER BY id"
            for row in self._connection.execute(query, (number,)):
                problem = damage(digest, row)
                if problem:
                    yield f"key {digest}, architecture {row[0]}: {problem}"
                elif space is not None and not space.holds(entry_of(row).score.architecture):
                    yield f"key {digest}, architecture {row[0]}: none of its supernet's names"
