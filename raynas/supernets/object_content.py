"""The content of objects that their attributes do not show: of types written in C, mostly."""

from __future__ import annotations

import contextvars
import functools
import logging
import os
import random
import re
import sys
import threading
import types
import weakref
from pathlib import PurePath
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.supernets.known_code import is_known, version_of

C_FUNCTIONS = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
"""Functions and attributes that are written in C."""

CACHED = type(functools.cache(len))
"""The type that `functools.cache` makes of a function."""

PLAIN_TENSORS = (Tensor, nn.Parameter, getattr(nn, "Buffer", Tensor))
"""Types of tensors that hold nothing but their values."""

STATELESS = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    random.Random,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    torch.Generator,
    torch.device,
    logging.Handler,
)
"""Types that hold no constants: what they hold is another thing each time, or in each process."""

BY_CLASS = ("torch._dynamo", "torch._inductor")
"""Packages whose objects say how something is run, not what."""

TEXTS = (
    PurePath,
    re.Pattern,
    torch.layout,
    torch.memory_format,
    torch.qscheme,
    torch.finfo,
    torch.iinfo,
    torch.fx.Graph,
)
"""Types whose values `str` tells apart, alike everywhere."""

OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)
"""Operators of torch, or of a library that adds its own to them."""


def text_of(value: Any) -> str | None:
    """A text that stands for a value of a few types; `None` for all others.

    Raises:
        TypeError: an operator of which only the name can be seen.
    """
    if isinstance(value, TEXTS) and is_known(type(value)):
        return str(value)
    if isinstance(value, logging.Logger | contextvars.ContextVar) and is_known(type(value)):
        return value.name
    if isinstance(value, OPERATORS):
        if str(value).split(".")[0] not in ("aten", "prims", "torchvision"):
            raise TypeError(f"{value} may be of anybody")
        return str(value)
    if isinstance(value, np.ufunc):
        name = str(getattr(value, "__name__", None))
        for package in ("numpy", "scipy.special"):
            if getattr(sys.modules.get(package), name, None) is value:
                return f"{package}.{name} {version_of(package)}"
        raise TypeError(f"{value} may be of anybody")
    return None


def holds_no_constants(kind: type) -> bool:
    """Whether objects of a class are told apart by their class alone."""
    return kind.__module__.startswith(BY_CLASS) or (issubclass(kind, STATELESS) and is_known(kind))


def hidden_content(value: Any) -> Any:
    """Everything of an object that pickling writes beside its attributes; a string names a global.

    Raises:
        TypeError: an object that holds something that nobody can get at.
    """
    kind = type(value)
    if isinstance(value, types.MappingProxyType | Tensor | np.ndarray):
        return None
    if isinstance(value, weakref.ref):
        return value()
    if isinstance(value, memoryview):
        return value.format, value.shape, value.tobytes()
    if isinstance(value, torch.UntypedStorage):
        return value.tolist()
    if isinstance(value, torch.TypedStorage):
        return value.untyped().tolist()
    if isinstance(value, os._Environ):
        raise TypeError("the environment is another one in each process")
    owner, reducer = reducer_of(kind)
    if owner is object:
        # Python knows whether a class holds more than its attributes, and refuses those.
        if not isinstance(state_getter(kind), FunctionType):
            value.__reduce_ex__(4)
        return None
    if isinstance(reducer, FunctionType) and not is_known(owner):
        if any(is_known(base) and reducer_of(base)[0] is not object for base in kind.__mro__):
            raise TypeError("a base of the class may hold more than its attributes")
        return None
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return reduced
    # Items of sequences and mappings are written by their kind.
    return list(reduced[:3])


def reducer_of(kind: type) -> tuple[type, Any]:
    """The class that says how objects of a kind are pickled, and how."""
    for base in kind.__mro__:
        for name in ("__reduce_ex__", "__reduce__"):
            if name in vars(base):
                return base, vars(base)[name]
    return object, None


def state_getter(kind: type) -> Any:
    """The method by which a class says what of it is pickled, if it has one of its own."""
    return next((vars(b)["__getstate__"] for b in kind.__mro__ if "__getstate__" in vars(b)), None)
