"""A digest of everything in a supernet: classes, attributes, code, tensors, and their tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import nn

from raynas.errors import InputError, describe_error
from raynas.supernets.attributes import module_attributes
from raynas.supernets.object_content import PLAIN_TENSORS
from raynas.supernets.reach import Reach, registered_names
from raynas.supernets.tensor_digest import tensor_digest

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

BATCH_COUNTER = "num_batches_tracked"
"""The batch-norm counter that no result depends on; older checkpoints leave it out."""

Attributes = dict[tuple[str, str], bytes]
"""The digest of every attribute, by the names of its module and its own."""


@final
@dataclass(frozen=True)
class Read:
    """Everything but tensors that was read of a supernet.

    Args:
        attributes: their digests.
        reached: digests of all code and constants that they lead to.
        unread: what digests do not change with, in a few words each.
    """

    attributes: Attributes
    reached: frozenset[bytes]
    unread: tuple[str, ...]


def read_attributes(supernet: ChainSupernet) -> Read:
    """Every attribute of every module that is not a tensor or a module of its own.

    Raises:
        InputError: a `raynas_identity` that cannot be called.
    """
    reach = Reach(registered_names(supernet))
    found: Attributes = {}
    for name, module in supernet.named_modules():
        reach.meet(type(module))
        found[name, "class"] = reach.class_digest(type(module))
        attributes = module_attributes(module, reach.stored_attributes(type(module)))
        attributes |= stated_identity(name, module)
        if not name:
            # People read the names of choices; nothing is computed with them.
            attributes.pop("names", None)
        for attribute, value in attributes.items():
            found[name, attribute] = reach.digest(value)
        for own, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and type(tensor) not in PLAIN_TENSORS:
                found[name, f"class of {own}"] = reach.class_digest(type(tensor))
                found[name, f"attributes of {own}"] = reach.digest(vars(tensor))
    reached = reach.reached()
    return Read(found, reached, tuple(sorted(reach.unread)))


def stated_identity(name: str, module: nn.Module) -> dict[str, str]:
    """The values that a module says it computes with, in its `raynas_identity`.

    Raises:
        InputError: the method raises, or gives no JSON value.
    """
    own = getattr(module, "raynas_identity", None)
    if not callable(own):
        return {}
    try:
        return {"raynas_identity()": json.dumps(own(), sort_keys=True)}
    # Methods of a user raise nearly anything.
    except Exception as error:
        raise InputError(
            name or "supernet",
            "a method raynas_identity() that gives a JSON value",
            describe_error(error),
            "Mend the method, or leave it out.",
        ) from error


def structure_digest(
    supernet: ChainSupernet, attributes: Attributes, reached: frozenset[bytes]
) -> str:
    """The digest of tensors, the tree of modules, inputs, classes, recipe and given attributes.

    Returns:
        32 hexadecimal digits.
    """
    total = hashlib.blake2b(digest_size=16)
    for (module, attribute), digest in sorted(attributes.items()):
        total.update(f"{module} {attribute} ".encode() + digest)
    total.update(b"".join(sorted(reached)))
    for line in tensor_lines(supernet):
        total.update(line)
    return total.hexdigest()


def tensor_lines(supernet: ChainSupernet) -> Iterator[bytes]:
    """Every module's children, parameters and buffers, each by its first name and its value."""
    names = registered_names(supernet)
    for name, module in supernet.named_modules():
        children = [(own, names.get(id(child))) for own, child in module._modules.items()]
        yield f"{name}: {children}\n".encode()
        tables = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for own, tensor in sorted(tables):
            if own == BATCH_COUNTER:
                continue
            full = f"{name}.{own}" if name else own
            first = names.get(id(tensor), full)
            value = b"" if first != full else digest_or_type(tensor)
            yield f"{full} {first} {type(tensor).__name__} ".encode() + value + b"\n"


def digest_or_type(tensor: object) -> bytes:
    """The digest of a tensor, or of its type where its values cannot be read."""
    try:
        return tensor_digest(tensor)  # type: ignore[arg-type]
    except (RuntimeError, ValueError, NotImplementedError, TypeError):
        return type(tensor).__qualname__.encode()
