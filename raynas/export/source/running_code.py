"""Source texts, compared with the code that runs: files change while a search runs, names too."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from raynas.export.source.expressions import CannotBeWrittenError

KINDS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
"""The flags of code that say what it is, and not where it stands."""

LOOKING_UP = ("LOAD_GLOBAL", "LOAD_NAME")
"""Instructions that look a name up outside of a function."""

LAMBDA = "<lambda>"
"""The name of functions without one."""


def require_running_code(function: FunctionType, text: str) -> None:
    """See that the source text of a function is what runs, and that its defaults still are.

    Args:
        function: as it runs.
        text: of it, with its decorators, as if it stood at the beginning of lines.

    Raises:
        CannotBeWrittenError: a file that has changed since it was imported, or a default that was
            computed from a name that means something else now.
    """
    name, code = function.__name__, function.__code__
    lines, _ = inspect.findsource(function)
    # The whole file: what it imports changes how a function is compiled.
    if (code.co_firstlineno, facts(code)) not in codes_of("".join(lines)):
        raise CannotBeWrittenError(f"has another {name} in its file than the one that runs")
    if name != LAMBDA:
        require_same_defaults(function, text)


@lru_cache(maxsize=16)
def codes_of(text: str) -> list[tuple[int, tuple[Any, ...]]]:
    """The first lines and the facts of all functions of a file; none of one that is no Python."""
    try:
        made = compile(text, "text", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return []
    return [(each.co_firstlineno, facts(each)) for each in codes_in(made)]


def require_running_class(kind: type) -> None:
    """See that the text of a class is that of its methods: a file may have two of one name.

    Raises:
        CannotBeWrittenError: its methods stand elsewhere, or are not those of the file.
    """
    lines, first = inspect.getsourcelines(kind)
    for held in vars(kind).values():
        method = inspect.unwrap(getattr(held, "__func__", held))
        if isinstance(method, FunctionType):
            require_running_code(method, textwrap.dedent(inspect.getsource(method)))
            if not first <= method.__code__.co_firstlineno < first + len(lines):
                raise CannotBeWrittenError(f"uses a {kind.__name__}, of which there are several")
    require_same_constants(kind, textwrap.dedent("".join(lines)))


def require_same_constants(kind: type, text: str) -> None:
    """See that the constants of a class, computed again, are those that it has.

    Raises:
        CannotBeWrittenError: another one, or one that its text does not have.
    """
    tree = ast.parse(text).body[0]
    assert isinstance(tree, ast.ClassDef)
    told: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            told |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            told[node.target.id] = node.value
    meanings = {**vars(sys.modules[kind.__module__]), **vars(kind)}
    for name, value in vars(kind).items():
        if name not in told and (name.startswith("_") or hasattr(type(value), "__get__")):
            continue
        held = getattr(value, "value", value) if isinstance(value, kind) else value
        if name not in told or not gives(told[name], meanings, held):
            raise CannotBeWrittenError(f"uses a {kind.__name__} whose {name} was changed")


def gives(expression: ast.expr, meanings: dict[str, Any], value: Any) -> bool:
    """Whether an expression, computed again, has a value."""
    code = compile(ast.Expression(expression), "text", "eval", dont_inherit=True)
    try:
        return bool(repr(eval(code, meanings)) == repr(value))
    # Names of what is around it, for one.
    except Exception:
        return False


def global_names(code: CodeType) -> list[str]:
    """The names that a code, and those inside it, look up in its file."""
    found = [each.argval for each in dis.get_instructions(code) if each.opname in LOOKING_UP]
    for inner in codes_in(code):
        found += [each.argval for each in dis.get_instructions(inner)
                  if each.opname in LOOKING_UP]  # fmt: skip
    return list(dict.fromkeys(found))


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """The codes of the functions that a code makes, those inside others, too."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from codes_in(each)


def facts(code: CodeType) -> tuple[Any, ...]:
    """The facts that say what a code computes, without where it stands."""
    constants = tuple(
        facts(each) if isinstance(each, CodeType) else constant(each) for each in code.co_consts
    )
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    return code.co_code, constants, names, counts, code.co_flags & KINDS


def constant(value: Any) -> Any:
    """A constant with its type and sign; texts, as docstrings may be, without their indentation."""
    if isinstance(value, str):
        return inspect.cleandoc(value)
    return type(value).__name__, repr(value)


def require_same_defaults(function: FunctionType, text: str) -> None:
    """See that the defaults of a function, computed again, are those that it has.

    Raises:
        CannotBeWrittenError: another one.
    """
    tree = ast.parse(text).body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = tree.args
    told = [*zip(arguments.defaults, function.__defaults__ or (), strict=True)]
    kept = function.__kwdefaults__ or {}
    told += [
        (default, kept.get(argument.arg))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    for default, value in told:
        if not gives(default, function.__globals__, value):
            raise CannotBeWrittenError(
                f"has a default {ast.unparse(default)} in {function.__name__}, which was another"
            )
