"""`raynas onnx`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from raynas.commands.terminal import make_console
from raynas.errors import require


def onnx(directories: Positional[tuple[Path, ...]]) -> None:
    """Write model.onnx beside the model.pt2 of exports; needs the extra onnx.

    Args:
        directories: of exports: best of a run, a folder of its members, or retrained.
    """
    require(len(directories) > 0, "directories", "at least one", "none", "Name an export.")
    from raynas.export.conversion import add_onnx

    for directory in directories:
        make_console().print(f"Wrote {add_onnx(directory)}", soft_wrap=True)
