"""The file of a ledger: created whole, recognised before it is touched, and its errors."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from raynas.errors import InputError, require

APPLICATION = 0x7261796E
"""In the header of every ledger, so that other SQLite files are told apart ("rayn")."""

FORMAT = 1
"""Of the tables."""

BUSY_SECONDS = 60.0
"""How long to wait for another process that writes."""

# Columns without a type keep a float as it is; REAL would lose the sign of -0.0.
SCHEMA = f"""
BEGIN;
CREATE TABLE protocols (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL
);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    protocol INTEGER NOT NULL REFERENCES protocols (id),
    architecture TEXT NOT NULL,
    correct INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    top1 NOT NULL,
    top5 NOT NULL,
    loss,
    finite INTEGER NOT NULL,
    bits BLOB NOT NULL,
    checksum BLOB NOT NULL,
    UNIQUE (protocol, architecture)
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
    if not read_only:
        create(path)
    require_ledger(path)
    with errors_of(path):
        connection = sqlite3.connect(
            uri(path, "mode=rw"), uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
    try:
        with errors_of(path):
            if not read_only:
                # Fails now, and not when there is something to add.
                connection.execute("SELECT count(*) FROM protocols").fetchone()
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
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
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
            os.link(part, path)
        except FileExistsError:
            return
        finally:
            part.unlink(missing_ok=True)


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
    """See that a ledger can be opened or created at a path; creates nothing.

    Raises:
        InputError: another file, or a folder that cannot be written to.
    """
    if path.exists():
        require_ledger(path)
        return
    with errors_of(path):
        existing = next(folder for folder in path.parents if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(f"{existing} cannot be written to")


@contextmanager
def errors_of(path: Path | None) -> Iterator[None]:
    """What SQLite and the system say against a file, as `InputError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InputError(
            "ledger",
            "a SQLite file that can be read and written",
            f"{path or 'memory'} ({error})",
            remedy(str(error)),
        ) from error


def remedy(reason: str) -> str:
    """What to do about an error of SQLite's."""
    if "locked" in reason:
        return "Let the process that writes to it go on or end it, and try again."
    if "not a database" in reason:
        return "Give the path of a ledger, or of a new file."
    if "malformed" in reason:
        return "List the damage with raynas ledger verify, and use another file."
    return "Check the path, its permissions and the free space, or use another file."


def uri(path: Path, options: str) -> str:
    """The path as SQLite's URI."""
    return f"{path.absolute().as_uri()}?{options}"
