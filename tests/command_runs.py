"""The `raynas` command in this process: its exit code and what it prints."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

from raynas.commands import main as cli

DIGITS = ("--data", "digits")
BRIEF_SEARCH = ("search", *DIGITS, "--workers", 0, "--generations", 1, "--population", 4)
"""A search of the digits in this process; the supernet and the run directory are missing."""


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


def assert_refused(arguments: Sequence[object], *texts: str) -> None:
    """The command ends with one line that holds the texts, and prints nothing else."""
    ended = command(*arguments)
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, "one line"
    for text in texts:
        assert text in ended.err
