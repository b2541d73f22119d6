"""Options of the command line made from the dataclasses that hold them, each written once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field, fields, make_dataclass
from typing import Any, get_type_hints


def options_of(kind: type, *, without: Collection[str] = ()) -> type:
    """A twin of a dataclass that holds any values: what a command line gives, before it is checked.

    tyro builds its arguments itself, and would wrap an error of theirs in a box. A twin is built
    without errors; `given` then builds the original, whose error is one line like all others.

    Args:
        kind: a dataclass whose fields have defaults.
        without: names of fields that a command line cannot give.
    """
    hints = get_type_hints(kind)
    members: list[tuple[str, Any, Any]] = []
    for each in fields(kind):
        if each.name not in without:
            members.append((each.name, hints[each.name], field(default=each.default)))
    twin = make_dataclass(kind.__name__, members, frozen=True)
    twin.__doc__ = described(kind)
    return twin


def described(kind: type) -> str:
    """The first line of a class's docstring, and what it says of its arguments."""
    text = kind.__doc__ or ""
    summary = text.strip().split("\n\n")[0]
    _, marker, rest = text.partition("    Args:\n")
    arguments = rest.partition("\n    Raises:")[0]
    return f"{summary}\n\n{marker}{arguments}"


def given(kind: type, options: Any) -> Any:
    """The dataclass with the values of its twin; those that it does not have are passed over.

    Raises:
        InputError: as the dataclass itself.
    """
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in vars(options).items() if name in names})
