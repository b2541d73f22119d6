"""The methods of a class of modules, as their author wrote them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, final

from torch import nn

from raynas.export.source.definitions import Definitions, source_of
from raynas.export.source.expressions import CannotBeWrittenError

ROOTS = ("forward", "train", "eval")
"""Methods that are called from outside."""

STATE = (
    "__call__", "__getattr__", "__setattr__", "_apply", "state_dict", "load_state_dict",
    "_load_from_state_dict", "_save_to_state_dict", "get_extra_state", "set_extra_state",
)  # fmt: skip
"""Methods of modules whose replacements nobody can see through."""


@final
@dataclass(frozen=True)
class Lifted:
    """The code of a class of modules.

    Args:
        title: the first paragraph of its docstring.
        methods: the source of its methods that its forward needs.
        attributes: the names of what these methods look up in `self`, in order.
    """

    title: str
    methods: tuple[str, ...]
    attributes: tuple[str, ...]


def lift(kind: type[nn.Module], definitions: Definitions) -> Lifted:
    """The code of a class; what it refers to is added to the definitions.

    Raises:
        CannotBeWrittenError: a class whose code is not all of it, or refers to other packages.
    """
    classes = own_classes(kind)
    held = {name: value for each in reversed(classes) for name, value in vars(each).items()}
    for name in STATE:
        if name in held:
            raise CannotBeWrittenError(f"has a {name} of its own")
    waiting = [name for name in ROOTS if name in held]
    methods: dict[str, str] = {}
    attributes: dict[str, None] = {}
    while waiting:
        name = waiting.pop(0)
        function = function_of(held.get(name))
        if name in methods or function is None:
            # Constants of the class, and what only modules have.
            if name not in methods:
                if hasattr(type(held.get(name)), "__get__"):
                    raise CannotBeWrittenError(f"computes its {name} in a way of its own")
                attributes[name] = None
            continue
        methods[name] = source_of(function)
        if len(classes) > 1 and "super()" in methods[name]:
            raise CannotBeWrittenError(f"calls super() in its {name}")
        definitions.resolve(function, methods[name], kind)
        if not isinstance(held[name], staticmethod):
            waiting += attributes_of(methods[name])
    texts = [textwrap.indent(text, "    ") for text in methods.values()]
    return Lifted(title_of(kind), tuple(texts), tuple(attributes))


def own_classes(kind: type[nn.Module]) -> list[type]:
    """A class and its bases below `nn.Module`.

    Raises:
        CannotBeWrittenError: it extends a layer of torch.
    """
    found = []
    for each in kind.__mro__:
        if each in (nn.Module, object, ABC, Generic):
            continue
        if each.__module__.partition(".")[0] == "torch":
            raise CannotBeWrittenError(f"extends torch's {each.__name__}")
        found.append(each)
    return found


def function_of(value: Any) -> Callable[..., Any] | None:
    """The function behind a method or a property of a class; `None` for anything else.

    Raises:
        CannotBeWrittenError: a method of the class itself, which has other attributes.
    """
    if isinstance(value, property):
        return value.fget
    if isinstance(value, classmethod):
        raise CannotBeWrittenError(f"needs its class method {value.__func__.__name__}")
    if isinstance(value, staticmethod):
        return value.__func__
    return value if inspect.isfunction(value) else None


def attributes_of(text: str) -> list[str]:
    """The attributes that a method looks up in its first argument, in the order of the text."""
    tree = ast.parse(text).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise CannotBeWrittenError("has a forward that is no function")
    arguments = [*tree.args.posonlyargs, *tree.args.args]
    own = arguments[0].arg if arguments else ""
    found = [
        (node.lineno, node.col_offset, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == own
    ]
    return [name for *_, name in sorted(found)]


def title_of(kind: type) -> str:
    """The first paragraph of a class's own docstring, or its name."""
    text = vars(kind).get("__doc__") or f"{kind.__name__}."
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
