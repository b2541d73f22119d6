"""Modules as the calls that make them, and the classes that these calls need."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any, final

import torch
from torch import Tensor, nn

from raynas.export.source.definitions import Definitions, free_names
from raynas.export.source.expressions import (
    LARGEST,
    Call,
    CannotBeWrittenError,
    Expression,
    docstring,
    lines_of,
    written,
)
from raynas.export.source.layers import is_layer, layer_call
from raynas.export.source.lifting import ROOTS, STATE, Lifted, lift
from raynas.export.source.stand_ins import STAND_INS

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes in which modules keep functions that run beside their own."""


@final
@dataclass(frozen=True)
class Field:
    """An attribute of a module that a class keeps.

    Args:
        kind: its type, as an annotation.
        keeping: the statement of the constructor that keeps it.
        value: as source.
    """

    kind: str
    keeping: str
    value: Expression


@final
@dataclass
class Kind:
    """A class that the file defines.

    Args:
        name: in the file.
        code: its methods.
        fields: the attributes that its constructor gets, by name.
        optional: those that are `None` in some module.
    """

    name: str
    code: Lifted
    fields: dict[str, Field] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)

    def source(self) -> str:
        """The class."""
        lines = [f"class {self.name}(nn.Module):", *docstring(self.code.title, 4)]
        if self.fields:
            first = [name for name in self.fields if name not in self.optional]
            last = [name for name in self.fields if name in self.optional]
            told = ["self", *(f"{name}: {self.fields[name].kind}" for name in first)]
            told += [f"{name}: {self.fields[name].kind} | None = None" for name in last]
            constructor = Call("__init__", tuple(("", each) for each in told))
            lines += ["", *lines_of(constructor, "def ", " -> None:", 4)]
            lines += ["        super().__init__()"]
            lines += [f"        {each.keeping}" for each in self.fields.values()]
        return "\n".join([*lines, "", "\n".join(self.code.methods)])


@final
class Modules:
    """The modules of one network as calls, and their classes in the order of first use.

    Args:
        definitions: receives what the code of the classes refers to.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.kinds: dict[type, Kind] = {}
        self.undrawn: dict[str, None] = {}
        self._definitions = definitions

    def call(self, module: nn.Module) -> Expression:
        """The call that makes a module.

        Raises:
            CannotBeWrittenError: no source can stand for it, or for a module in it.
        """
        if any(getattr(module, name, None) for name in HOOKS):
            raise CannotBeWrittenError("has hooks").within(type(module).__name__)
        if "forward" in vars(module):
            told = "has a forward that was put into it"
            raise CannotBeWrittenError(told).within(type(module).__name__)
        if is_chain(module):
            return self._chain(module)
        if type(module) in (nn.ModuleList, nn.ModuleDict):
            return self._container(module)
        try:
            return layer_call(module) if is_layer(module) else self._own(module)
        except CannotBeWrittenError as error:
            raise error.within(type(module).__name__) from error

    def _chain(self, module: nn.Module) -> Call:
        """The call that makes modules which run one after another."""
        children = held_modules(module)
        if list(children) == [str(index) for index in range(len(children))]:
            listed = tuple(("", self.call(child)) for child in children.values())
            return Call("nn.Sequential", listed, tall=bool(listed))
        self._definitions.imports.add("from collections import OrderedDict")
        return Call("nn.Sequential", (("", self._named("OrderedDict", children)),), tall=True)

    def _container(self, module: nn.Module) -> Call:
        """The call that makes a list or a dict of modules."""
        children = held_modules(module)
        if isinstance(module, nn.ModuleDict):
            return Call("nn.ModuleDict", (("", self._named("dict", children)),))
        listed = tuple(("", self.call(child)) for child in children.values())
        return Call("nn.ModuleList", (("", Call("", listed, bool(listed), "[]")),))

    def _named(self, function: str, children: Mapping[str, nn.Module]) -> Call:
        """The call that gives modules their names."""
        for name in children:
            if not name.isidentifier() or iskeyword(name):
                told = f"is called {name!r}, which is no name in Python"
                raise CannotBeWrittenError(told).within(type(children[name]).__name__)
        named = tuple((name, self.call(child)) for name, child in children.items())
        return Call(function, named, tall=True)

    def _own(self, module: nn.Module) -> Call:
        """The call that makes a module of a class that the file defines."""
        kind = self._kind(STAND_INS.get(type(module), type(module)))
        arguments: list[tuple[str, Expression]] = []
        for name, own in self._fields(module, kind.code).items():
            if not name.isidentifier() or iskeyword(name):
                raise CannotBeWrittenError(f"has a {name!r}, which is no name in Python")
            if kind.fields.get(name, own).kind == "None":
                kind.fields[name] = own
            kind.fields.setdefault(name, own)
            if own.value == "None":
                kind.optional.add(name)
            else:
                arguments.append((name, own.value))
        return Call(kind.name, tuple(arguments))

    def _kind(self, kind: type[nn.Module]) -> Kind:
        """The class of the file for a class of modules."""
        if kind not in self.kinds:
            name = kind.__name__
            while not self._definitions.claim(name):
                name += "_"
            code = lift(kind, self._definitions)
            named = {each for text in code.methods for each in free_names(textwrap.dedent(text))}
            if name != kind.__name__ in named:
                raise CannotBeWrittenError("names itself, as something else is named, too")
            self.kinds[kind] = Kind(name, code)
        return self.kinds[kind]

    def _fields(self, module: nn.Module, code: Lifted) -> dict[str, Field]:
        """The attributes of a module that its code, or its state, consists of."""
        found: dict[str, Field] = {}
        for name, child in module._modules.items():
            value = "None" if child is None else self.call(child)
            found[name] = Field("nn.Module", f"self.{name} = {name}", value)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self.undrawn.setdefault(type(module).__name__)
            found[name] = Field("nn.Parameter", f"self.{name} = {name}", parameter_call(parameter))
        for name, buffer in module._buffers.items():
            passing = name in module._non_persistent_buffers_set
            rest = ", persistent=False" if passing else ""
            keeping = f'self.register_buffer("{name}", {name}{rest})'
            found[name] = Field("torch.Tensor", keeping, tensor_source(buffer, passing=passing))
        for name in code.attributes:
            own = name in vars(module) or not hasattr(nn.Module, name)
            if name not in found and own and name != "training":
                value = getattr(module, name)
                found[name] = Field(kind_of(value), f"self.{name} = {name}", written(value))
        return found


def held_modules(module: nn.Module) -> dict[str, nn.Module]:
    """The modules that a list of modules has, by name: one that it has twice is there twice."""
    return {name: child for name, child in module._modules.items() if child is not None}


def is_chain(module: nn.Module) -> bool:
    """Whether a module runs others one after another, and does nothing else."""
    if not isinstance(module, nn.Sequential):
        return False
    held = {name for each in type(module).__mro__ if each.__module__.partition(".")[0] != "torch"
            for name in vars(each) if each is not object}  # fmt: skip
    return not held & {*ROOTS, *STATE}


def parameter_call(parameter: nn.Parameter | None) -> Expression:
    """The call that makes a parameter; the state dict has its values, unless it is small."""
    if parameter is None:
        return "None"
    value = ("", tensor_source(parameter, passing=False))
    trained = () if parameter.requires_grad else (("requires_grad", "False"),)
    return Call("nn.Parameter", (value, *trained))


def tensor_source(tensor: Tensor | None, *, passing: bool) -> str:
    """A tensor by its values, or a large one that the state dict holds as zeros."""
    if tensor is None:
        return "None"
    if passing or tensor.numel() <= LARGEST:
        return written(tensor)
    kind = "" if tensor.dtype is torch.float32 else f", dtype={tensor.dtype}"
    return f"torch.zeros({', '.join(map(str, tensor.shape))}{kind})"


def kind_of(value: Any) -> str:
    """The type of a value, as an annotation."""
    if isinstance(value, Tensor):
        return "torch.Tensor"
    plain = isinstance(value, bool | int | float | str | tuple | list | dict)
    return "None" if value is None else type(value).__name__ if plain else "object"
