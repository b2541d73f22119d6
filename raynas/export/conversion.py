"""An export that is there as an ONNX file, from its program alone: no supernet, no data."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from raynas.errors import InputError, require
from raynas.export.folder import DESCRIPTION, replace_files
from raynas.export.onnx_file import ONNX, onnx_bytes, require_onnx
from raynas.export.program import PROGRAM, Program, first_line, quiet
from raynas.files import Record, as_path, plain_number, read_json, writing
from raynas.inputs import Inputs


def add_onnx(directory: str | Path) -> Path:
    """Write `model.onnx` beside the `model.pt2` of an export, such as that of a retrained network.

    Args:
        directory: of an export: what a search, `raynas export` or a retraining has written.

    Returns:
        The file.

    Raises:
        InputError: no packages for ONNX, no such directory or program, a program that the
            converter does not take, or a place that cannot be written to.
    """
    target = as_path(directory, "directory")
    require_onnx()
    described, program = read_export(target)
    refused: dict[str, str] = {}
    inputs = Inputs(**described["inputs"])
    content = onnx_bytes(program, program.exported.module(), inputs, refused)
    require(
        content is not None,
        "onnx",
        f"a program that can be written as {ONNX}",
        f"{target / PROGRAM} ({refused.get(ONNX)})",
        "Use the program as it is, or change what was refused in the module.",
    )
    assert content is not None
    described["not_written"].pop(ONNX, None)
    told = json.dumps(described, indent=2, default=plain_number).encode() + b"\n"
    with writing("directory", target):
        replace_files(target, {ONNX: content, DESCRIPTION: told})
    return target / ONNX


def read_export(directory: Path) -> tuple[Record, Program]:
    """The description and the program of an export.

    Raises:
        InputError: there is none, or it is damaged.
    """
    for name in (DESCRIPTION, PROGRAM):
        require(
            (directory / name).is_file(),
            "directory",
            f"the directory of an export, with its {name}",
            directory,
            "Give one that raynas export, a search or a retraining has written.",
        )
    described = read_json(directory / DESCRIPTION)
    kept = [name for name in ("inputs", "batch", "not_written") if name not in described]
    require(
        not kept,
        str(directory / DESCRIPTION),
        "the description of an export of this version",
        f"one without {', '.join(kept)}",
        "Export again.",
    )
    content = (directory / PROGRAM).read_bytes()
    try:
        with quiet():
            exported = torch.export.load(directory / PROGRAM)
    # A damaged archive raises nearly anything.
    except Exception as error:
        raise InputError(
            str(directory / PROGRAM),
            "a program of torch.export",
            first_line(error),
            "Export again.",
        ) from error
    batch = None if described["batch"] == "any" else int(described["batch"])
    return described, Program(exported, content, batch)
