"""The one exception that tells a user what to change, and looks at kinds of values."""

from __future__ import annotations

import json
from numbers import Integral, Real
from typing import TypeGuard


class InputError(ValueError):
    """An argument, a file or a setting that the user can mend.

    The command line prints it as one line and exits with code 2; nothing has been written by then.

    Args:
        argument: the name of the argument, file or setting.
        expected: values that would have been accepted.
        got: the value that came.
        remedy: the way to mend it.
    """

    def __init__(self, argument: str, expected: str, got: object, remedy: str) -> None:
        super().__init__(argument, expected, got, remedy)
        self.argument = argument
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.got}. {self.remedy}"


def describe_error(error: BaseException) -> str:
    """The type of an exception and the first line of its text, shortened."""
    # Not its repr: that of a decoding error holds the whole file.
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def reason_of(error: BaseException) -> str:
    """The reason why a file cannot be read: in the words of the system, or in plain ones."""
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are no text"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, KeyError):
        return f"no entry {error}"
    words = error.strerror if isinstance(error, OSError) else None
    return words or describe_error(error)


def require(condition: bool, argument: str, expected: str, got: object, remedy: str) -> None:
    """Raise `InputError` unless the condition holds."""
    if not condition:
        raise InputError(argument, expected, got, remedy)


def require_kind(value: object, kind: type, argument: str, remedy: str) -> None:
    """Raise `InputError` unless a value is an instance of a class."""
    if not isinstance(value, kind):
        got = value if isinstance(value, type) else type(value)
        shown = f"the class {got.__name__}" if got is value else f"a {got.__name__}"
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InputError(argument, f"{article} {kind.__name__}", shown, remedy)


def require_flags(**flags: object) -> None:
    """Raise `InputError` unless arguments, each by its name, are truth values."""
    for argument, value in flags.items():
        remedy = "Write it without quotes, and give no number."
        require(isinstance(value, bool), argument, "True or False", repr(value), remedy)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, of numpy's, too; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an integer or a float, of numpy's, too; truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
