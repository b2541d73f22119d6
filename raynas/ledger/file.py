"""The file of a ledger: created whole, recognised before it is touched, and its errors."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from raynas.errors import InputError, require
from raynas.files import FREE_SPACE, is_full

APPLICATION = 0x7261796E
"""The mark in the header of every ledger, which tells other SQLite files apart ("rayn")."""

FORMAT = 2
"""The version of the tables."""

BUSY_SECONDS = 60.0
"""The time to wait for another process that writes."""

# Columns without a type keep a float as it is; REAL would lose the sign of -0.0.
SCHEMA = f"""
BEGIN;
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL
);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL REFERENCES keys (id),
    architecture TEXT NOT NULL,
    objectives TEXT NOT NULL,
    loss,
    finite INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    correct INTEGER,
    outcomes BLOB NOT NULL,
    checksum BLOB NOT NULL,
    UNIQUE (key, architecture)
);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""


def connect(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a ledger, or create one. The caller closes the connection.

    Args:
        path: the file; `None` for one in memory.
        read_only: do not create it, and do not see whether it can be written to.

    Raises:
        InputError: a file that is not a ledger, or a place that cannot be used.
    """
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(SCHEMA)
        return connection
    if read_only:
        require_ledger(path)
        return connect_to_read(path)
    create(path)
    require_ledger(path)
    with errors_of(path):
        # Fails now, and not when there is something to add.
        return opened(
            path,
            "mode=rw",
            "SELECT count(*) FROM keys",
            "BEGIN IMMEDIATE",
            f"PRAGMA user_version = {FORMAT}",
        )


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a ledger that may lie where nothing can be written.

    Raises:
        InputError: it cannot be read; also where it cannot be written to and the scores that were
            added last are still in the file of its log.
    """
    try:
        # Where it can be written to, the last one to close it tidies its log away.
        return opened(path, "mode=rw")
    except sqlite3.Error as error:
        place = path.resolve()
        log = place.with_name(f"{place.name}-wal")
        with errors_of(path):
            if may_write(place.parent):
                raise
            # SQLite reads a log only with an index beside it, which it cannot make here.
            require(
                not log.exists() or log.stat().st_size == 0,
                "ledger",
                "one whose log is empty, where nothing can be written",
                f"{path} ({error}), whose log {log.name} holds scores",
                f"Copy {place.name} and {log.name} to a place that can be written to.",
            )
            return opened(path, "mode=ro&immutable=1")


def opened(path: Path, options: str, *statements: str) -> sqlite3.Connection:
    """A connection that has read the file, and so can; statements are tried and taken back."""
    connection = sqlite3.connect(
        uri(path, options), uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for statement in statements:
            connection.execute(statement).fetchall()
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path) -> None:
    """Make an empty ledger where there is no file.

    It appears whole, by a link, so that processes that start at once agree on the first one, and
    none ever meets an unfinished one.

    Raises:
        InputError: the folder cannot be created or written to.
    """
    if path.exists():
        return
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    with errors_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            # Not by SQLite, which would take some of the user's default permissions away.
            part.touch(exist_ok=False)
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
            os.link(part, path)
        except FileExistsError:
            return
        finally:
            for suffix in ("", "-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)


def require_ledger(path: Path) -> None:
    """See that a file is a ledger of this format, without changing or locking it.

    Raises:
        InputError: it is missing, or something else.
    """
    with errors_of(path):
        require(
            path.is_file(),
            "ledger",
            "the file of a ledger",
            f"{path}, which is {'not a file' if path.exists() else 'missing'}",
            "Give the path that a search was given with --ledger.",
        )
        # Immutable: SQLite takes no lock then, and repairs nothing that belongs to others.
        with closing(sqlite3.connect(uri(path, "mode=ro&immutable=1"), uri=True)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (found,) = connection.execute("PRAGMA user_version").fetchone()
    require(
        application == APPLICATION,
        "ledger",
        "a ledger of raynas",
        f"{path}, which is empty, or a database of another program",
        "Give another path; this file stays as it is.",
    )
    require(
        found == FORMAT,
        "ledger",
        f"a ledger of format {FORMAT}",
        f"{path} of format {found}",
        "Use the version of raynas that wrote it, or another path.",
    )


def require_usable(path: Path) -> None:
    """See that a ledger can be opened or created at a path, to be written to; creates nothing.

    Raises:
        InputError: another file, or a file or folder that cannot be written to.
    """
    if path.exists():
        require_ledger(path)
    with errors_of(path):
        folder = next(each for each in path.parents if each.exists())
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
        for place in (folder, path):
            if place.exists() and not may_write(place):
                raise PermissionError(f"{place} cannot be written to")


def may_write(place: Path) -> bool:
    """Whether a file can be written to, or files can be made in a folder."""
    return os.access(place, os.W_OK | os.X_OK if place.is_dir() else os.W_OK)


@contextmanager
def errors_of(path: Path | None) -> Iterator[None]:
    """Errors of SQLite and of the system, raised as `InputError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InputError(
            "ledger",
            "a SQLite file that can be read and written",
            f"{path or 'memory'} ({error})",
            remedy(error),
        ) from error


def remedy(error: Exception) -> str:
    """A sentence on what to do about an error of SQLite's or of the system's."""
    # The path is in what the system says, so that only SQLite is read by its words.
    reason = str(error) if isinstance(error, sqlite3.Error) else ""
    if "locked" in reason:
        return "Let the process that writes to it go on or end it, and try again."
    if "not a database" in reason:
        return "Give the path of a ledger, or of a new file."
    if "malformed" in reason:
        return (
            "It is damaged: restore it from a copy, or use another file. Of one that opens, raynas "
            "ledger verify lists the damage."
        )
    if "full" in reason or "disk I/O" in reason or is_full(error):
        return FREE_SPACE
    if "readonly" in reason or "unable to open" in reason:
        return "Change its permissions and those of its folder, or use another file."
    return "Check the path, its permissions and the free space, or use another file."


def uri(path: Path, options: str) -> str:
    """The path as SQLite's URI."""
    return f"{path.absolute().as_uri()}?{options}"
