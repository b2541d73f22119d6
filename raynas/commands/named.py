"""A user's own function, named as `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from raynas.errors import InputError, require

Made = TypeVar("Made")

FORM = "package.module:function"


def is_named(source: str) -> bool:
    """Whether a text names a function, and no file or folder that is there."""
    return ":" in source and not Path(source).exists()


def make(
    source: str, kind: type[Made], argument: str, options: Mapping[str, Any] | None = None
) -> Made:
    """Make a value of one kind with a user's function.

    Args:
        source: `package.module:function`; the module may be in the current folder.
        kind: of what the function must return.
        argument: that names the function.
        options: what the function is called with.

    Raises:
        InputError: as `call`; or a result of another kind.
    """
    wanted = f"a {kind.__name__}"
    made = call(source, wanted, argument, options or {})
    require(
        isinstance(made, kind),
        argument,
        f"{wanted} from {source}",
        type(made).__name__,
        "Return one from the function.",
    )
    assert isinstance(made, kind)
    return made


def call(source: str, wanted: str, argument: str, options: Mapping[str, Any]) -> Any:
    """Call a user's function.

    Args:
        source: `package.module:function`; the module may be in the current folder.
        wanted: from the function, in words.
        argument: that names the function.
        options: what the function is called with.

    Raises:
        InputError: no such module or function, an error of its own, or options that it does not
            take.
    """
    function = find(source, argument)
    require_options(function, options, f"{argument} {source}")
    try:
        return function(**options)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            argument,
            f"{wanted} from {source}",
            told(error, sys.modules.get(getattr(function, "__module__", ""))),
            "Mend the function.",
        ) from error


def find(source: str, argument: str) -> Callable[..., Any]:
    """The function that a text names.

    Raises:
        InputError: no such module or function, or an error of the module's own.
    """
    module, _, name = source.partition(":")
    require(
        all(part.isidentifier() for part in (*module.split("."), name)),
        argument,
        FORM,
        repr(source),
        "Write it as mine.networks:build, for a function of the file mine/networks.py.",
    )
    # Ray hands this path on to the workers of this machine.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(
            f"{error.name}."
        )
        remedy = "Run the command where the module is, or install it."
        if module.endswith(".py"):
            remedy = f"Leave out .py: {module.removesuffix('.py')}:{name}."
        raise InputError(
            argument,
            f"{FORM} that can be imported from here",
            f"{source} ({error if absent else told(error, None)})",
            remedy if absent else "Mend the module.",
        ) from error
    function = getattr(imported, name, None)
    require(
        callable(function),
        argument,
        f"a function {name} in {module}",
        "none" if function is None else f"a {type(function).__name__}",
        "Name the function that makes it.",
    )
    assert callable(function)
    return function


def told(error: BaseException, module: Any) -> str:
    """The type of an error, what it says first, and the line of the user's that raised it."""
    said = str(error).strip().splitlines()
    words = type(error).__name__ + (f": {said[0]}" if said else "")
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(module, "__file__", None)
    # Without a module it was raised by an import, whose own frames come first.
    own = [
        frame
        for frame in frames
        if (frame.filename == file if file else not frame.filename.startswith("<frozen"))
    ]
    if isinstance(error, SyntaxError) or not own or own[-1].filename == __file__:
        return words
    return f"{words} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def require_options(function: Callable[..., Any], options: Collection[str], source: str) -> None:
    """Raise `InputError`, naming those that there are, for an option that a function lacks."""
    try:
        known = inspect.signature(function).parameters
    except ValueError:  # Of a function written in C.
        return
    if any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return
    for option in options:
        require(
            option in known,
            option.replace("_", "-"),
            f"none for {source}",
            f"--{option.replace('_', '-')}",
            "Leave it out.",
        )
