"""The run directory: append-only records from which a search is resumed and reported.

`config.json` says what is searched and under which protocol; `generations.jsonl` has one flushed
record per generation, holding only what the seed and the protocol determine; `metrics.jsonl` has
timings and costs; `result.json` is written once, at the end. A process may be killed at any moment:
a record that was not written completely is dropped, and its generation is searched again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any, final

from raynas.errors import InputError, require
from raynas.files import (
    CHANGE_PERMISSIONS,
    Record,
    append_line,
    as_path,
    complete_records,
    dumps,
    read_json,
    replace_bytes,
    write_json,
    writing,
)

CONFIG = "config.json"
GENERATIONS = "generations.jsonl"
METRICS = "metrics.jsonl"
RESULT = "result.json"
LOCK = ".lock"

FORMAT = 3
"""The version of the records; a run directory of another one is not resumed."""


@final
class RunLog:
    """An open run directory, locked against other processes until it is closed.

    Args:
        directory: created if missing.
        config: a JSON object with everything that determines the history of the run.
        resume: continue the run that the directory holds, if it holds one.

    Raises:
        InputError: the directory holds a run and `resume` is off, or the run has another
            configuration (the difference is shown), or another process is writing to it, or its
            records cannot be read, or the place cannot be written to. Every method that writes
            raises it, too, where there is no room left; what was there before stays.
    """

    def __init__(self, directory: Path | str, config: Mapping[str, Any], *, resume: bool) -> None:
        self.directory = as_path(directory, "run_dir")
        self.generations: list[Record] = []
        self.metrics: list[Record] = []
        require_usable(self.directory, resume=resume)
        self._lock = acquire(self.directory)
        try:
            # Again, since the process that held the lock may have written a run.
            require_usable(self.directory, resume=resume)
            self._start(json.loads(dumps(config)))
        except BaseException:
            self.close()
            raise

    def _start(self, config: Record) -> None:
        """Read back the run that the directory holds, or begin one."""
        path = self.directory / CONFIG
        if path.exists():
            require_same(recorded_config(self.directory), config)
        else:
            with writing("run_dir", path):
                write_json(path, config)
        self.generations = recover(self.directory / GENERATIONS)
        timed = recover(self.directory / METRICS)
        self.metrics = metrics_of(timed, len(self.generations))
        if len(self.metrics) < len(timed):
            lines = "".join(dumps(each) + "\n" for each in self.metrics)
            with writing("run_dir", self.directory / METRICS):
                replace_bytes(self.directory / METRICS, lines.encode())

    def append(self, generation: Record, metrics: Record) -> None:
        """Write the records of one generation to the disk; the generation itself comes last."""
        for name, record in ((METRICS, metrics), (GENERATIONS, generation)):
            with writing("run_dir", self.directory / name):
                append_line(self.directory / name, record)
        self.metrics.append(metrics)
        self.generations.append(generation)

    def finish(self, result: Record) -> None:
        """Write `result.json`."""
        with writing("run_dir", self.directory / RESULT):
            write_json(self.directory / RESULT, result)

    def close(self) -> None:
        """Let other processes write to the directory."""
        self._lock.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def metrics_of(metrics: list[Record], generations: int) -> list[Record]:
    """The metrics of the first generations; of one that was not recorded, they are left out."""
    numbers = range(generations)
    return [each for each in metrics if each.get("generation") in numbers]


def acquire(directory: Path) -> IO[str]:
    """Create the directory and lock it until the returned file is closed.

    Raises:
        InputError: it cannot be created, or another process holds the lock.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("a")
    except OSError as error:
        raise unusable(error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(
            "run_dir",
            "a directory that no other process writes to",
            directory,
            "Wait for the other search to end, or use another directory.",
        ) from None
    except OSError as error:
        lock.close()
        raise unusable(f"{directory}, which cannot be locked ({error})") from error
    return lock


def require_usable(directory: Path, *, resume: bool) -> None:
    """Raise `InputError` unless a run may be written to a directory; creates and writes nothing.

    Raises:
        InputError: it holds a run and `resume` is off, or it cannot be written to.
    """
    try:
        existing = next(p for p in (directory, *directory.parents) if p.exists())
        held = [n for n in (CONFIG, GENERATIONS, RESULT) if (directory / n).exists()]
    except OSError as error:
        raise unusable(error) from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise unusable(f"{directory}, where {existing} cannot be written to")
    require(
        resume or not held,
        "run_dir",
        "a directory without a run",
        f"{directory}, which holds {', '.join(held)}",
        "Continue that run with resume (--resume), or use another directory.",
    )
    require(
        not held or CONFIG in held,
        "run_dir",
        f"a run with its {CONFIG}",
        f"{directory}, which holds only {', '.join(held)}",
        "Use another directory; this one cannot be resumed.",
    )


def require_resumable(
    directory: Path, config: Mapping[str, Any], *, unknown: Collection[str] = ()
) -> None:
    """See that the run in a directory, if there is one, agrees with a part of a configuration.

    What is known early is compared early: the whole is compared when the log is opened.

    Args:
        directory: of the run.
        config: as far as it is known.
        unknown: the dotted names that it lacks as yet.

    Raises:
        InputError: a setting differs; the difference is shown.
    """
    path = directory / CONFIG
    if path.exists():
        recorded = flatten(recorded_config(directory))
        compared = {name: value for name, value in recorded.items() if name not in unknown}
        require_same(compared, json.loads(dumps(config)))


def recorded_config(directory: Path) -> Record:
    """Read the configuration of a run directory that has one.

    Raises:
        InputError: it is damaged, or of a format that a later version of raynas writes.
    """
    config = read_json(directory / CONFIG)
    version = config.get("format", 0)
    require(
        isinstance(version, int) and version <= FORMAT,
        "run_dir",
        f"records of at most format {FORMAT}, as this version of raynas writes them",
        f"{directory}, of format {version}",
        "Install the version of raynas that wrote it, or a later one.",
    )
    return config


def unusable(reason: object) -> InputError:
    """The error for a directory that no run can be written to."""
    return InputError(
        "run_dir",
        "a directory that can be created and written to",
        reason,
        CHANGE_PERMISSIONS,
    )


def require_same(
    recorded: Mapping[str, Any], config: Mapping[str, Any], argument: str = "resume"
) -> None:
    """Raise `InputError`, showing what differs, unless both configurations are equal."""
    before, now = flatten(recorded), flatten(config)
    differing = [
        f"{key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} now"
        for key in sorted({*before, *now})
        if before.get(key, "absent") != now.get(key, "absent")
    ]
    require(
        not differing,
        argument,
        "the configuration that the run was started with",
        "; ".join(differing),
        "Use the same settings, supernet and data, or another run directory.",
    )


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as one level of dotted names."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{name}.{key}" if name else str(key)))
    return flat


def recover(path: Path) -> list[Record]:
    """The complete records of a file; an incomplete last line is cut off the file.

    Raises:
        InputError: a complete line is not a JSON object, or the file cannot be read or written.
    """
    records, size = complete_records(path)
    with writing("run_dir", path):
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
    return records
