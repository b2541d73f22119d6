"""The one exception that tells a user what to change."""

from __future__ import annotations


class InputError(ValueError):
    """An argument, a file or a setting that the user can mend.

    The command line prints it as one line and exits with code 2; nothing has been written by then.

    Args:
        argument: the name of the argument, file or setting.
        expected: what would have been accepted.
        got: what came.
        remedy: what to do about it.
    """

    def __init__(self, argument: str, expected: str, got: object, remedy: str) -> None:
        super().__init__(argument, expected, got, remedy)
        self.argument = argument
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.got}. {self.remedy}"


def require_type(value: object, kind: type, argument: str, remedy: str) -> None:
    """Raise `InputError` unless a value is of a class (an instance, not the class)."""
    if isinstance(value, kind):
        return
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    got = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    raise InputError(argument, f"{article} {kind.__name__}", got, remedy)


def require(condition: bool, argument: str, expected: str, got: object, remedy: str) -> None:
    """Raise `InputError` unless the condition holds."""
    if not condition:
        raise InputError(argument, expected, got, remedy)
