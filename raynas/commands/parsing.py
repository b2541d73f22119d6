"""The arguments of the command line, read by tyro; what it refuses becomes one line."""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, final, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from raynas.commands.options import plain_docstring

Command = Callable[..., None]
Commands = Command | Mapping[str, Command]


@final
class ArgumentError(Exception):
    """Arguments that a command does not take, and where they are explained, in one line."""


KINDS: Mapping[type, str] = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
"""Types whose values may be omitted, and their names in a help text."""

REASONS = (
    (r"invalid literal for int\(\) with base \d+: (.*)", r"expected a whole number, got \1"),
    (r"could not convert string to float: (.*)", r"expected a number, got \1"),
    # An option of another command: what is told of the order of commands holds for none here.
    (
        r"Unrecognized or misplaced options: (.*?) Arguments are applied.*",
        r"Unrecognized options: \1",
    ),
    (r" \(applied to [^)]*\)", ""),
)
"""Python's words for a text that is no number, and plainer ones."""


def read_arguments(command: Commands) -> Callable[[], None]:
    """A call of a function, or of one of several, with the arguments of the command line.

    It is made and not run, so that nothing but the arguments is judged here.

    Raises:
        ArgumentError: arguments that it does not take.
        SystemExit: the help text was asked for, and printed.
    """
    options: Any = {
        "prog": program(),
        "config": (tyro.conf.OmitArgPrefixes,),
        "registry": registry(),
    }
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            if callable(command):
                return tyro.cli(deferred(command), **options)
            later = {name: deferred(function) for name, function in command.items()}
            call: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(later, **options)
            return call
    except SystemExit as end:
        if not end.code:
            raise
        raise refusal(told.getvalue(), command) from None


def deferred(function: Command) -> Callable[..., Callable[[], None]]:
    """A function of the same arguments that returns the call instead of making it."""

    @functools.wraps(function)
    def later(*arguments: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(function, *arguments, **options)

    later.__doc__ = plain_docstring(function.__doc__ or "")
    return later


def registry() -> ConstructorRegistry:
    """Rules of tyro that show and read `int | None` as `int`: an option is omitted, not `None`."""
    rules = ConstructorRegistry()
    rules.primitive_rule(optional)
    return rules


def optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """The way that an option that may be omitted is read; `None` for all other types."""
    members = get_args(info.type) if get_origin(info.type) in (Union, UnionType) else ()
    kinds = [member for member in members if member is not NoneType]
    if len(kinds) != 1 or len(members) != 2:
        return None
    (kind,) = kinds
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if not words and kind not in KINDS:
        return None

    def fits(value: object) -> bool:
        return value is None or (value in words if words else isinstance(value, kind))

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(words)}}}" if words else KINDS[kind],
        instance_from_str=lambda texts: texts[0] if words else kind(texts[0]),
        is_instance=lambda value: (
            value is None or (value in words if words else isinstance(value, kind))
        ),
        str_from_instance=lambda value: ["none" if value is None else str(value)],
        choices=words or None,
    )


def refusal(text: str, command: Commands) -> ArgumentError:
    """The error for what tyro refuses, made of the box that it prints.

    The box has a title, the reason, and then help, each behind a rule. The title is within the
    border where the terminal knows UTF-8, and a line of its own elsewhere.
    """
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        inside = line.strip("│╭╮╰╯").rstrip()
        if line.startswith("╭") or (inside and not inside.strip("─- ")):
            parts.append([])
        elif inside.strip():
            parts[-1].append(inside)
    reason, *more = parts[1:] if len(parts) > 1 else parts
    if reason and reason[0].strip().startswith("Missing from"):
        return ArgumentError(f"missing {outermost(reason[1:])}. {see_help(command)}")
    said = " ".join(" ".join(reason).split())
    return ArgumentError(f"{plainly(said)}. {hints(more, said)}{see_help(command)}")


def hints(parts: list[list[str]], said: str) -> str:
    """Sentences on what may be meant, made of those parts of the box that say it.

    Args:
        parts: of the box, behind the reason.
        said: the reason. An option in it is one of another command, and so is the guess.
    """
    sentences = []
    for first, *rows in filter(None, parts):
        if first.strip().startswith("Perhaps you meant"):
            guess = outermost(rows)
            if guess not in said:
                sentences.append(f"Perhaps you meant {guess}. ")
        elif first.strip().startswith("Available subcommands"):
            sentences.append(f"{' '.join(' '.join([first, *rows]).split())}. ")
    return "".join(sentences)


def outermost(rows: list[str]) -> str:
    """The names of the options that rows list; what explains them is indented more."""
    least = min((len(row) - len(row.lstrip()) for row in rows), default=0)
    names = [row.split()[0] for row in rows if len(row) - len(row.lstrip()) == least]
    return ", ".join(names)


def plainly(reason: str) -> str:
    """A reason in plain words."""
    for pattern, words in REASONS:
        reason = re.sub(pattern, words, reason)
    plain = reason.removeprefix("Error parsing ").rstrip(". ")
    return plain[:1].lower() + plain[1:]


def see_help(command: Commands) -> str:
    """A sentence that says where the arguments are explained."""
    called = sys.argv[1:2] if not callable(command) and sys.argv[1:2] else []
    known = [name for name in called if not callable(command) and name in command]
    return f"See {' '.join([program(), *known, '--help'])}."


def program() -> str:
    """The name of the command or script that was called, without its folder."""
    name = Path(sys.argv[0]).name
    return "python -m raynas" if name == "__main__.py" else name
