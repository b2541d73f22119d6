"""The directory of an export: whether it may be written to, and its files, replaced together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from raynas.errors import require
from raynas.export.onnx_file import ONNX
from raynas.export.program import PROGRAM, WEIGHTS
from raynas.export.source import SOURCE
from raynas.files import write_through, writing

DESCRIPTION = "architecture.json"

FILES = (DESCRIPTION, WEIGHTS, PROGRAM, ONNX, SOURCE)
"""Every file that an export may have."""


def require_target(target: Path, architecture: Sequence[int]) -> None:
    """See that an export may be written to a directory; creates nothing.

    Raises:
        InputError: it holds the export of another architecture, or files that are not those of an
            export, or it cannot be written to.
    """
    with writing("export directory", target):
        existing = next(each for each in (target, *target.absolute().parents) if each.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is not a directory")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(f"{existing} cannot be written to")
        described = (target / DESCRIPTION).exists()
        others = [name for name in FILES[1:] if (target / name).exists()]
    held: object = f"{' and '.join(others)} without {DESCRIPTION}"
    if described:
        try:
            held = json.loads((target / DESCRIPTION).read_text())["architecture"]
        except (OSError, ValueError, KeyError, TypeError):
            held = "something unreadable"
    require(
        held == list(architecture) or not (described or others),
        "export directory",
        "an empty one, or one with the same architecture",
        f"{target}, which holds {held}",
        "Export into another directory.",
    )


def require_targets(directory: Path, architectures: Sequence[Sequence[int]]) -> list[Path]:
    """Folders `00`, `01`, … for the exports of several architectures; creates nothing.

    Raises:
        InputError: as `require_target`, or another numbered folder is there, so that it could not
            be told from these.
    """
    folders = [directory / f"{index:02d}" for index in range(len(architectures))]
    for folder, architecture in zip(folders, architectures, strict=True):
        require_target(folder, architecture)
    there = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    foreign = [name for name in there if name.isdecimal() and directory / name not in folders]
    require(
        not foreign,
        "export directory",
        f"no numbered folder in {directory} but those of {len(folders)} architectures",
        ", ".join(foreign),
        "Export into another directory, or remove them.",
    )
    return folders


def replace_files(target: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a directory, all of them before the first of them replaces another.

    Raises:
        OSError: they cannot be written.
    """
    parts = target / f".{os.getpid()}.part"
    try:
        parts.mkdir()
        for name, content in files.items():
            write_through(parts / name, content)
        for name in files:
            os.replace(parts / name, target / name)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
