"""Telling code of Python, torch, torchvision, numpy and this package from the code of others.

Judged by where its file lies: a user's package may be named `code` or `profile`, and a function
that `functools.wraps` made like one of torch has the name of its module.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from functools import lru_cache
from types import FunctionType, ModuleType

PACKAGES = ("torch", "torchvision", "numpy", "raynas")
"""Packages whose functions and classes are known by their names, beside those of Python."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages, which may lie below the standard library's."""

MADE_AT_RUN_TIME = 1 << 9
"""The flag of classes that are no static ones of C."""


@lru_cache(maxsize=8192)
def is_known_file(path: str) -> bool:
    """Whether a source file belongs to Python or to a known package."""
    # Modules that are frozen into the interpreter.
    if path.startswith("<frozen "):
        return True
    for name in PACKAGES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and path.startswith(os.path.dirname(file) + os.sep):
            return True
    library = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    library.append(os.path.dirname(os.__file__))
    own = not set(INSTALLED) & set(path.split(os.sep))
    return own and any(path.startswith(folder + os.sep) for folder in library)


def is_known_module(module: ModuleType) -> bool:
    """Whether a module comes with Python or a known package."""
    name, file = module.__name__, getattr(module, "__file__", None)
    if isinstance(file, str) and os.path.isabs(file):
        return name != "__main__" and is_known_file(file)
    if sys.modules.get(name) is module and name in sys.builtin_module_names:
        return True
    # Parts of extension modules have no file, and torch.ops none of its own.
    return "." in name and is_known_name(name.rpartition(".")[0])


def is_known_name(name: str | None) -> bool:
    """Whether the module of this name, or the next one above that is there, is a known one."""
    while name:
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            return is_known_module(module)
        name = name.rpartition(".")[0]
    return False


def is_known_function(function: FunctionType) -> bool:
    """Whether the code of a Python function comes with Python or a known package."""
    return is_known_file(function.__code__.co_filename)


def is_known(kind: type) -> bool:
    """Whether a class comes with Python or a known package, as it is there."""
    module = sys.modules.get(kind.__module__)
    if not is_known_name(kind.__module__):
        return False
    if not kind.__flags__ & MADE_AT_RUN_TIME:
        return True
    found: object = module
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is kind:
        return True
    # Made in a function of such a module, perhaps of a user's own code, as make_dataclass does.
    functions = [held for held in vars(kind).values() if isinstance(held, FunctionType)]
    return all(map(is_known_function, functions)) if functions else not made_in_python(kind)


def is_as_it_came(kind: type) -> bool:
    """Whether a class and its bases come with known packages, without methods of others."""
    return all(
        is_known(base)
        and all(
            is_known_function(held)
            for held in vars(base).values()
            if isinstance(held, FunctionType)
        )
        for base in kind.__mro__
    )


def made_in_python(kind: type) -> bool:
    """Whether a class statement, or `type(…)`, made a class; extension modules make others."""
    return "__dict__" in vars(kind) or "__weakref__" in vars(kind) or "__slots__" in vars(kind)


def version_of(module: str) -> str | None:
    """The version of the installed package that a module is of; `None` if it is none.

    A package is installed where its file lies below `site-packages`: people edit others.
    """
    top = module.split(".")[0]
    try:
        if not installed(top):
            return None
    except (ImportError, ValueError, AttributeError):
        return None
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", "")) or None


def imported_modules(
    function: FunctionType, level: int, name: str, wanted: tuple[str, ...]
) -> list[ModuleType] | str:
    """The modules of a user that an `import` inside a function gives; a string if none can be seen.

    They are imported here, since a digest must not depend on what ran before. Installed packages
    are not: they may take seconds, and nobody edits them.

    Args:
        function: that imports.
        level: how many dots are before the name.
        name: of the module.
        wanted: what is imported from it.
    """
    package = function.__globals__.get("__package__") or ""
    try:
        full = importlib.util.resolve_name("." * level + name, package)
        top = full.split(".")[0]
        loaded = sys.modules.get(top)
        if is_known_name(top) or installed(top) or not (loaded or importlib.util.find_spec(top)):
            return []
        found = importlib.import_module(full)
        for each in wanted:
            if not hasattr(found, each):
                importlib.import_module(f"{full}.{each}")
        return [found, importlib.import_module(top)]
    # Code of a user runs when it is imported, and raises nearly anything.
    except Exception as error:
        return f"module {name} ({type(error).__name__})"


def installed(top: str) -> bool:
    """Whether a package lies where Python or its installers put packages.

    Raises:
        ValueError: one that was made by hand.
    """
    spec = importlib.util.find_spec(top)
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    folders = [part for place in places for part in place.split(os.sep)]
    return bool(set(INSTALLED) & set(folders)) or any(
        place in ("frozen", "built-in") or is_known_file(place) for place in places
    )
