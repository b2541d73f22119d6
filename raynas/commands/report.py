"""`raynas report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from raynas.commands.terminal import make_console, shown_safely
from raynas.errors import InputError


def report(
    run_dirs: Positional[tuple[Path, ...]],
    out: Annotated[Path, arg(aliases=["-o"])] = Path("report.html"),
    figures: Path | None = None,
) -> None:
    """Write a page on one or several searches, finished or not, that a browser opens from disk.

    It is made from their records alone: nothing is loaded, trained or scored for it. Runs that
    cannot be read are named, and the exit code is then 2; the others are in the report.

    Args:
        run_dirs: the directories of the searches.
        out: the HTML file; an earlier report is replaced.
        figures: a folder that receives each figure as SVG and PNG, too.
    """
    # What draws figures is loaded when the arguments are known to be right.
    from raynas.report.page import write_report

    written = write_report(run_dirs, out, figures)
    screen = make_console()
    screen.print(f"Report: {written.page}", soft_wrap=True)
    if figures is not None:
        screen.print(f"Figures: {len(written.figures)} files in {figures}", soft_wrap=True)
    for problem in written.problems:
        print(f"warning: {shown_safely(' '.join(problem.split()))}", file=sys.stderr)
    if written.refused:
        raise not_read([error for _, error in written.refused])


def not_read(errors: list[InputError]) -> InputError:
    """One error for several runs that are not in a report."""
    first, others = errors[0], errors[1:]
    more = "".join(f"; and {error.got}" for error in others)
    return InputError(first.argument, first.expected, f"{first.got}{more}", first.remedy)
