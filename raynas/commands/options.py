"""Options of the command line made from the dataclasses that hold them, each written once."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import field, fields, make_dataclass
from typing import Any, get_type_hints

from raynas.errors import InputError


def options_of(
    kind: type, *, without: Collection[str] = (), unset: bool | Collection[str] = ()
) -> type:
    """A twin of a dataclass that holds any values: what a command line gives, before it is checked.

    tyro builds its arguments itself, and would wrap an error of theirs in a box. A twin is built
    without errors; `given` then builds the original, whose error is one line like all others.

    Args:
        kind: a dataclass; its fields have defaults, but for `unset`.
        without: names of fields that a command line cannot give.
        unset: names of fields that are `None` by default, or whether all are: an omitted option
            gets its value elsewhere.
    """
    hints = get_type_hints(kind)
    members: list[tuple[str, Any, Any]] = []
    for each in fields(kind):
        if each.name not in without:
            later = unset if isinstance(unset, bool) else each.name in unset
            hint = hints[each.name] | None if later else hints[each.name]
            members.append((each.name, hint, field(default=None if later else each.default)))
    twin = make_dataclass(kind.__name__, members, frozen=True)
    twin.__doc__ = plain_docstring(kind.__doc__ or "")
    return twin


@contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Errors that name an argument of the API, raised again with the option that stands for it.

    Args:
        names: of options, by those of arguments.
    """
    try:
        yield
    except InputError as error:
        if error.argument not in names:
            raise
        raise InputError(names[error.argument], error.expected, error.got, error.remedy) from error


def plain_docstring(text: str) -> str:
    """The first sentences and the arguments of a docstring, as a terminal shows them best.

    Code is not quoted, and each argument is one line: tyro would keep some of the breaks.
    """
    for code, plain in (("if `None`", "if omitted"), ('`"', ""), ('"`', ""), ("`", "")):
        text = text.replace(code, plain)
    summary, _, rest = inspect.cleandoc(text).partition("\n\n")
    _, _, described = rest.partition("Args:\n")
    lines: list[str] = []
    for line in described.partition("\n\n")[0].splitlines():
        if line.startswith(" " * 8) and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join([" ".join(summary.split()), "", "Args:", *lines])


def given(kind: type, options: Any) -> Any:
    """The dataclass with the values of its twin; those that it does not have are passed over.

    Raises:
        InputError: as the dataclass itself.
    """
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in vars(options).items() if name in names})


def chosen(options: Any) -> dict[str, Any]:
    """The options that were given a value, of a twin whose fields may be left unset."""
    return {name: value for name, value in vars(options).items() if value is not None}
