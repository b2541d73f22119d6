"""A program of the command line: its arguments, and the ways it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

import raynas
from raynas.commands.parsing import ArgumentError, read_arguments
from raynas.errors import InputError


def run(command: Callable[..., None] | Mapping[str, Callable[..., None]]) -> None:
    """Run a function, or one of several, with the arguments of the command line.

    What the user can mend is printed as one line, and ends the process with exit code 2.
    """
    try:
        read_arguments(command)()
    except BrokenPipeError:
        # Whoever read the output has seen enough; nobody is left to be told of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ArgumentError, InputError, OSError) as error:
        fail(error, 2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues, a search with --resume", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        from raynas.workers.pool import LostObjectError, WorkerCrashError

        known = (raynas.training.TrainingDivergedError, WorkerCrashError, LostObjectError)
        if not isinstance(error, known):
            raise
        fail(error, 1)


def fail(error: Exception, code: int) -> NoReturn:
    """End the process with an error in one line."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(code)


def one_line(error: Exception) -> str:
    """The message of an error, without breaks of lines and commands to a terminal."""
    from raynas.commands.terminal import shown_safely

    return shown_safely(" ".join(line.strip() for line in str(error).splitlines() if line.strip()))
