"""Functions and classes that values lead to: what these name, import and are given."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any, final

from torch import Tensor, nn

from raynas.supernets.attributes import (
    class_items,
    has_state,
    is_constant,
    object_state,
    plain_function,
)
from raynas.supernets.code_facts import CodeFacts, code_facts
from raynas.supernets.known_code import (
    imported_modules,
    is_known,
    is_known_function,
    is_known_module,
    version_of,
)
from raynas.supernets.value_walk import PLAIN, ValueWalk

MOST_REACHED = 4_000
"""The largest number of functions and classes that are read; the rest is remembered as unread."""

LOOKS_UP = frozenset(("eval", "exec", "__import__", "globals", "open", "input"))
"""Functions of Python by which code gets at what its names do not show."""

READS = (
    "os.environ", "os.getenv", "sys.modules", "importlib.import_module", "numpy.load",
    "numpy.fromfile", "numpy.memmap", "numpy.genfromtxt", "numpy.loadtxt", "torch.load",
    "torch.from_file", "torch.jit.load", "torch.hub.", "pickle.load", "json.load", "io.open",
)  # fmt: skip
"""Known functions and values by which it does, by the beginning of their full names."""


REPEATED = frozenset((type(None), bool, int, str))
"""Types of values that are the same wherever they are equal; without float, for 0.0 and -0.0."""

MACHINERY = frozenset(("__spec__", "__loader__", "__builtins__"))
"""Names in a module by which Python has loaded it: they tell where from, and lead to the loader."""


@final
class Reach:
    """Functions and classes that have been met, and what these name in their modules.

    Args:
        names: of the registered modules and tensors by `id`, which stand for them in values.
        caches: whether containers in Python modules may be caches, which are not read; otherwise
            all are taken for constants.
    """

    def __init__(self, names: Mapping[int, str], *, caches: bool = True) -> None:
        self.names = names
        self._caches = caches
        self._codes: dict[CodeType, CodeFacts] = {}
        self._plain: dict[tuple[type, Any], bytes] = {}
        self._classes: dict[type, bytes] = {}
        self._stored: dict[type, frozenset[str]] = {}
        self._met: dict[int, Any] = {}
        self._held: dict[str, ModuleType] = {}
        self._pending: deque[Any] = deque()
        self.referred: set[str] = set()
        """The names of registered modules and tensors that values have referred to."""
        self.unread: set[str] = set()
        """Things that could not be read, so that digests do not change with them, in few words."""
        self.noted: set[str] = set()
        """Full names of known functions and of classes of objects."""

    def digest(self, value: Any) -> bytes:
        """The digest of one value and all that is in it; called code is left to `reached`."""
        # Most attributes of a supernet are a few such values again and again.
        repeated = type(value) in REPEATED
        key = (type(value), value if repeated else None)
        if repeated and key in self._plain:
            return self._plain[key]
        walk = ValueWalk(self)
        walk.add(value)
        found = walk.total.digest()
        if repeated:
            self._plain[key] = found
        return found

    def facts(self, code: CodeType) -> CodeFacts:
        """The facts about a code object, which is read once."""
        if code not in self._codes:
            self._codes[code] = code_facts(code)
        return self._codes[code]

    def codes(self) -> Iterable[CodeFacts]:
        """The facts about all code that was read."""
        return self._codes.values()

    def note(self, name: str) -> None:
        """Remember that something known was met, which is not read."""
        self.noted.add(name)
        if name.startswith(READS):
            self.unread.add(f"what {name} gives")

    def hold(self, module: ModuleType) -> None:
        """Remember a Python module that is passed on as a value: any code may look into it."""
        if not is_known_module(module):
            self._held[module.__name__] = module

    def meet(self, item: Any) -> None:
        """Remember a function or a class, to look at what it names."""
        if id(item) in self._met:
            return
        if len(self._met) < MOST_REACHED:
            self._met[id(item)] = item
            self._pending.append(item)
        else:
            self.unread.add("more code than is read")

    def reached(self) -> frozenset[bytes]:
        """The digests of all that functions and classes met so far name, and of what these name."""
        # Functions that others put into tensors are methods of any.
        found = {self.class_digest(Tensor)} if self._met else set[bytes]()
        while self._pending:
            while self._pending:
                item = self._pending.popleft()
                of_class = isinstance(item, type)
                found.update(self._of_class(item) if of_class else self._of_code(item))
            attributes = frozenset[str]().union(*(facts.attributes for facts in self.codes()))
            for name, module in list(self._held.items()):
                found.update(self._inside(name.encode(), module, attributes))
        return frozenset(found)

    def class_digest(self, kind: type) -> bytes:
        """The digest of a class: the name of a known one, the code and constants of another.

        Functions that others put into a known class are read as well.
        """
        if kind not in self._classes:
            total = hashlib.blake2b(digest_size=16)
            for base in kind.__mro__:
                known = is_known(base)
                # Not by its full name: a class that travelled by value has lost it.
                full = f"{base.__qualname__};{base.__module__};"
                total.update((full if known else f"{base.__name__};").encode())
                if not known:
                    self.meet(base)
                for name, value in vars(base).items() if known else class_items(base):
                    function = plain_function(value)
                    if known and (function is None or is_known_function(function)):
                        continue
                    if function is not None:
                        total.update(name.encode() + self.facts(function.__code__).digest)
                        self.meet(function)
                    elif isinstance(value, (*PLAIN, float)):
                        total.update(f"{name} {type(value).__name__} {value!r};".encode())
            self._classes[kind] = total.digest()
        return self._classes[kind]

    def stored_attributes(self, kind: type) -> frozenset[str]:
        """Names of attributes that methods of a class write, but for its constructor."""
        if kind not in self._stored:
            stored: frozenset[str] = frozenset()
            for base in kind.__mro__:
                if not is_known(base):
                    for _, value in class_items(base):
                        function = plain_function(value)
                        if function is not None:
                            stored |= self.facts(function.__code__).stored
            self._stored[kind] = stored
        return self._stored[kind]

    def _of_class(self, kind: type) -> Iterable[bytes]:
        if is_known(kind):
            return
        for name, value in class_items(kind):
            yield f"{kind.__module__} {kind.__name__}.{name} ".encode() + self.digest(value)

    def _of_code(self, function: FunctionType) -> Iterable[bytes]:
        facts = self.facts(function.__code__)
        for name in sorted(facts.globals & LOOKS_UP - function.__globals__.keys()):
            self.unread.add(f"what {name} gives in {function.__qualname__}")
        if not self._caches and facts.globals & facts.stored_globals:
            self.unread.add(f"what {function.__qualname__} keeps in its module")
        # Functions of equal code in two modules may see other values.
        own = facts.digest + str(function.__globals__.get("__name__")).encode() + b" "
        for chain in sorted(facts.chains):
            name = chain[0]
            if name in function.__globals__ and name not in facts.stored_globals:
                label = own + ".".join(chain).encode() + b" "
                try:
                    yield from self._along(label, function.__globals__[name], chain[1:], facts)
                # Objects of a user raise nearly anything when they are looked at.
                except Exception as error:
                    self.unread.add(f"{'.'.join(chain)} ({type(error).__name__})")
        for level, module, wanted in sorted(facts.imports):
            self.note(f"{module}.")
            label = own + module.encode() + b" "
            found = imported_modules(function, level, module, wanted)
            if isinstance(found, str):
                self.unread.add(found)
                continue
            yield label + str(version_of(module) if found == [] and not level else "").encode()
            for each in found:
                yield from self._inside(label, each, facts.attributes)
        for each in closure_modules(function):
            label = own + each.__name__.encode() + b" "
            yield from self._inside(label, each, facts.attributes)

    def _along(
        self, label: bytes, value: Any, attributes: tuple[str, ...], facts: CodeFacts
    ) -> Iterable[bytes]:
        """Digests of a global that a function reads these attributes of, one from the other."""
        while isinstance(value, ModuleType):
            if is_known_module(value):
                self.note(".".join((value.__name__, *attributes)))
                yield from self._put_into(label, value, attributes)
                return
            if not attributes:
                self.hold(value)
                yield from self._inside(label, value, facts.attributes)
                return
            value, attributes = getattr(value, attributes[0], None), attributes[1:]
        first = attributes[0] if attributes else None
        if isinstance(value, FunctionType) and first in vars(value):
            if first not in facts.stored:
                yield label + self.digest(vars(value)[first])
        elif first is not None and has_state(value) and first in object_state(value):
            # Of a settings object only what the function can be seen to use.
            yield label + self.digest(object_state(value)[first])
        elif not self._caches or not facts.fills or is_constant(value):
            yield label + self.digest(value)

    def _put_into(self, label: bytes, value: Any, attributes: tuple[str, ...]) -> Iterable[bytes]:
        """Digests of a function that others put into a known module, as people mend libraries."""
        for attribute in attributes:
            value = getattr(value, attribute, None)
        if isinstance(value, FunctionType) and not is_known_function(value):
            yield label + self.digest(value)

    def _inside(
        self, label: bytes, module: ModuleType, attributes: frozenset[str]
    ) -> Iterable[bytes]:
        """Digests of what code with these attributes can see of a module and of those in it."""
        pending, seen = [module], {id(module)}
        while pending:
            held_by = pending.pop()
            if is_known_module(held_by):
                continue
            for name in sorted(attributes & vars(held_by).keys() - MACHINERY):
                held = vars(held_by)[name]
                if not isinstance(held, ModuleType):
                    yield label + f"{held_by.__name__}.{name} ".encode() + self.digest(held)
                elif id(held) not in seen:
                    seen.add(id(held))
                    pending.append(held)


def registered_names(supernet: nn.Module) -> dict[int, str]:
    """The first name of every module, parameter and buffer, by `id`."""
    names: dict[int, str] = {}
    for name, module in supernet.named_modules():
        names.setdefault(id(module), f"module {name}")
    for name, tensor in (*supernet.named_parameters(), *supernet.named_buffers()):
        names.setdefault(id(tensor), name)
    return names


def closure_modules(function: FunctionType) -> Iterator[ModuleType]:
    """The Python modules that a function holds in its closure."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            # By type, since objects of a user may raise when they are asked for their class.
            if issubclass(type(cell.cell_contents), ModuleType):
                yield cell.cell_contents
