"""Files written whole or not at all, and JSON records: what the rooms that write share."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from raynas.errors import InputError

Record = dict[str, Any]
"""A JSON object."""

FREE_SPACE = "Free some space, and try again; a search goes on with resume (--resume)."
"""The remedy where the disk is full."""

CHANGE_PERMISSIONS = "Change its permissions, or use another directory."
"""The remedy where a directory cannot be written to."""


def as_path(value: object, argument: str) -> Path:
    """The path that an argument names; `InputError` for what is none."""
    if isinstance(value, str | os.PathLike) and "\0" not in str(value):
        return Path(value)
    raise InputError(argument, "a path", repr(value), "Give it as a text or a pathlib.Path.")


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or a limit on file sizes leaves no room."""
    return isinstance(error, OSError) and error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
    )  # fmt: skip


@contextmanager
def writing(argument: str, place: Path) -> Iterator[None]:
    """Errors of the system while something is written, raised as `InputError`.

    Args:
        argument: that names the place.
        place: the file or folder that is written.
    """
    try:
        yield
    except OSError as error:
        full = is_full(error)
        raise InputError(
            argument,
            "room on the disk" if full else "a directory that can be created and written to",
            f"{place} ({error.strerror or error})",
            FREE_SPACE if full else CHANGE_PERMISSIONS,
        ) from error


@contextmanager
def file_beside(path: Path, argument: str = "path", *, new: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place on leaving, unless an error is raised.

    The file gets the permissions that the user gives new files, whoever writes it.

    Args:
        path: of the file; its folder is created.
        argument: that names it.
        new: refuse to replace a file.

    Raises:
        InputError: the file cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        permissions = default_permissions(temporary)
        yield temporary
        os.chmod(temporary, permissions)
        (os.link if new else os.replace)(temporary, path)
    except OSError as error:
        raise InputError(
            argument,
            f"a {'new ' * new}file that can be written",
            f"{path} ({error})",
            "Choose another place.",
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def default_permissions(path: Path) -> int:
    """The mode of a file that is created at `path` and left there, empty."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def require_writable(argument: str, place: Path, *beside: str) -> None:
    """See that a file, and others of these names beside it, can be written; leaves nothing behind.

    Folders that are not there yet can be made.

    Raises:
        InputError: they cannot.
    """
    with writing(argument, place):
        existing = next(each for each in place.absolute().parents if each.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is not a directory")
        for name in (place.name, *beside):
            if place.with_name(name).is_dir():
                raise IsADirectoryError(f"{place.with_name(name)} is a directory")
            # The longest name that is written, and what no permission says: a read-only disk.
            probe = existing / f".{name}.{os.getpid()}.tmp"
            probe.touch()
            probe.unlink()


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content at once, so that it is either absent, old, or complete.

    The file gets the user's default permissions.

    Raises:
        OSError: it cannot be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write_through(temporary, content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_through(path: Path, content: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as `replace_bytes` does."""
    replace_bytes(path, (dumps(value, indent=2) + "\n").encode())


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record and wait until it is on the disk.

    Raises:
        OSError: it cannot be written; what was there before is still there, and no more where that
            can be helped.
    """
    line = (dumps(record) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            # Without a buffer, `write` may take a part only.
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise


def complete_records(path: Path) -> tuple[list[Record], int]:
    """The complete lines of a file of records; one that is still being written is left out.

    Returns:
        The records, and how many bytes they take.

    Raises:
        InputError: the file cannot be read, or a complete line is not a JSON object.
    """
    records: list[Record] = []
    size = 0
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return records, size
    except OSError as error:
        raise unreadable(path, "a file that can be read", error) from error
    for number, line in enumerate(lines, start=1):
        try:
            records.append(parse(line))
        except ValueError as error:
            reason = f"line {number}: {error}"
            raise unreadable(path, "one JSON object per line", reason) from error
        size += len(line) + 1
    return records, size


def read_json(path: Path) -> Record:
    """Read a JSON object.

    Raises:
        InputError: the file is missing or is not a JSON object.
    """
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise unreadable(path, "a JSON object", error) from error


def unreadable(path: Path, expected: str, reason: object) -> InputError:
    """The error for a record that is not as it was written."""
    return InputError(
        str(path), expected, reason, "Restore the file, or start anew in another directory."
    )


def parse(text: bytes) -> Record:
    """One JSON object; `ValueError` for anything else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} instead of an object")
    return value


def dumps(value: Mapping[str, Any] | Sequence[Any], indent: int | None = None) -> str:
    """JSON without NaN or infinity, which other readers reject."""
    return json.dumps(value, allow_nan=False, indent=indent, default=plain_number)


def plain_number(value: object) -> Any:
    """A number of numpy's as one of Python's; `TypeError` for what JSON does not know."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"JSON cannot hold {type(value).__name__} {value!r}")
