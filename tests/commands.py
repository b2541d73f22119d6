"""The `raynas` command in this process: its exit code and what it prints."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from raynas import cli


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> Finished:
    """Run `raynas` with arguments."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = ["raynas", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Finished(code, out.getvalue(), err.getvalue())
