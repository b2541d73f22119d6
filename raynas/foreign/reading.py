"""Reading an architecture from a file, and seeing that a supernet has it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import yaml

from raynas.errors import InputError, reason_of, require
from raynas.files import as_path
from raynas.foreign import fairnas, megvii, mmrazor, nni, own, proxylessnas
from raynas.foreign.found import Found, NotUnderstoodError, shown
from raynas.space import Architecture

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

FORMATS = (
    "the architecture.json of an export, a subnet of mmrazor, an architecture of NNI, a network of "
    "ProxylessNAS or FairNAS, or arch.pkl or a search of SPOS"
)
"""The files that are understood."""

DEFAULT_WIDTH = "@1.0"
"""The end of a name in a space of channels that has those of the space without."""


def read_architecture(path: str | Path, supernet: ChainSupernet) -> Architecture:
    """Read an architecture of a supernet from a file of raynas or of another project.

    These are understood, by their content: `architecture.json` and `result.json` of raynas;
    mmrazor's subnet YAML (SPOS, ProxylessNAS's and GreedyNAS's spaces); NNI's architecture JSON
    (`ShuffleNetSpace`, `ProxylessNAS`, and labels that are numbered); ProxylessNAS's network
    configurations; FairNAS's model files; `arch.pkl` and the search checkpoints of SPOS. No file
    can run code.

    Args:
        path: the file.
        supernet: whose choices it names. Where the file says channels and strides of blocks, they
            must be the supernet's.

    Raises:
        InputError: a file that cannot be read or understood, or an architecture that the supernet
            does not have, by block.
    """
    file = as_path(path, "architecture")
    found = read_file(file)
    architecture = fitted(found, supernet.names, file, widths_of(found, supernet))
    require_shapes(found, supernet, file)
    return architecture


def read_file(path: Path, argument: str = "architecture") -> Found:
    """Read what a file says, whatever supernet it is of; needs torch for torch files alone.

    Args:
        path: the file.
        argument: that names it.

    Raises:
        InputError: a file that cannot be read or understood.
    """
    try:
        content = path.read_bytes()
        return understood(path, content)
    except OSError as error:
        got: object = f"{path} ({reason_of(error)})"
    except NotUnderstoodError as error:
        got = f"{path} with {error}"
    raise InputError(argument, FORMATS, got, "Give such a file, or name the choices: c7,c5,c3,x.")


def understood(path: Path, content: bytes) -> Found:
    """The architecture of a file, by its content.

    Raises:
        NotUnderstoodError: it holds none.
    """
    if megvii.is_binary(content):
        return megvii.read(path, content)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise NotUnderstoodError("bytes that are no text") from error
    if path.suffix == ".py":
        return fairnas.read(text)
    value = parsed(text)
    if isinstance(value, list):
        return own.read(value)
    if not isinstance(value, Mapping) or not value:
        raise NotUnderstoodError("neither an object nor a list")
    if proxylessnas.is_proxylessnas(value):
        return proxylessnas.read(value)
    if own.is_own(value):
        return own.read(value)
    if mmrazor.is_mmrazor(value):
        return mmrazor.read(value)
    return nni.read(value)


def parsed(text: str) -> Any:
    """The value of a JSON or YAML text.

    Raises:
        NotUnderstoodError: neither of them, or one with an entry twice.
    """
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, Loader=OnceLoader)
    # Dates and numbers that there are not.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotUnderstoodError("neither JSON nor YAML") from error


def once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The entries of an object.

    Raises:
        NotUnderstoodError: one that is there twice: readers differ in which of them they take.
    """
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise NotUnderstoodError(f"{shown(name)} twice")
        found[name] = value
    return found


@final
class OnceLoader(yaml.SafeLoader):
    """Reads YAML that cannot run code, and in which no entry is twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The entries of a mapping; those of others that it takes over may be replaced.

        Raises:
            NotUnderstoodError: as `once`.
        """
        own = [(key, None) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        once((key.value, None) for key, _ in own if isinstance(key, yaml.ScalarNode))
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def fitted(
    found: Found,
    names: Sequence[Sequence[str]],
    file: Path,
    widths: Sequence[Mapping[int, str]] | None = None,
) -> Architecture:
    """The indices of an architecture in a space.

    Args:
        found: what a file says.
        names: of the choices of each block of the space.
        file: that says it.
        widths: the ends of the names of each block's widths, by their channels, if the file has
            channels.

    Raises:
        InputError: another number of blocks, or a choice that its block does not have.
    """
    from raynas.supernets.choice_names import index_of

    argument = f"architecture {file}"
    require(
        len(found.choices) == len(names),
        argument,
        f"the choices of {len(names)} blocks",
        f"{len(found.choices)}, of {found.format}",
        "Give one of this supernet's space.",
    )
    indices = []
    for block, offered in enumerate(names):
        try:
            indices.append(index_of(block, offered, wanted(found, block, offered, widths)))
        except InputError as error:
            raise InputError(argument, error.expected, error.got, error.remedy) from error
        require_agreement(found, block, offered, argument)
    return tuple(indices)


def require_agreement(found: Found, block: int, offered: Sequence[str], argument: str) -> None:
    """Raise `InputError` where a file has the name of a choice and the index of another one.

    Indices of another space say nothing here: one that has longer forms of its names alone, such as
    those of widths, or one whose choices are the same in another order.
    """
    name = found.choices[block]
    if found.indices is None or name not in offered or is_of_one_order(found):
        return
    index = offered.index(str(name))
    require(
        found.indices[block] == index,
        argument,
        f"for block {block} the index of {name} in this space, {index}, under architecture",
        f"{shown(found.indices[block])} there, and {name} under names",
        "Correct one of them, or leave architecture out of the file if its names are right.",
    )


def is_of_one_order(found: Found) -> bool:
    """Whether all blocks of a file have one order of choices, as the papers' spaces do.

    Then each name has one index wherever it comes, and no other name has it; some come twice.
    """
    pairs = [*zip(found.choices, map(repr, found.indices or ()), strict=False)]
    distinct = set(pairs)
    names, indices = ({pair[side] for pair in distinct} for side in (0, 1))
    return len(names) == len(indices) == len(distinct) < len(pairs)


def wanted(
    found: Found,
    block: int,
    offered: Sequence[str],
    widths: Sequence[Mapping[int, str]] | None,
) -> str | int:
    """The name, or index, of the choice of a block that a file says.

    Args:
        found: what the file says.
        block: counted from 0.
        offered: the names of its choices.
        widths: as those of `fitted`.
    """
    choice = found.choices[block]
    if found.middles is not None:
        known = {} if widths is None else widths[block]
        return f"{choice}@{known.get(found.middles[block], found.middles[block])}"
    words = found.words[block : block + 1]
    for word in words:
        if isinstance(word, list) and len(word) != len(offered):
            # Which of a block's choices the one of a longer or shorter list is, nobody knows.
            return f"one of {len(word)}"
    if isinstance(choice, int):
        return choice
    # A supernet that has the file's own words means the same by them.
    every = (*words, choice, f"{choice}{DEFAULT_WIDTH}")
    return next((each for each in every if each in offered), choice)


def widths_of(found: Found, supernet: ChainSupernet) -> list[dict[int, str]] | None:
    """The ends of the names of widths by their channels; `None` if the file has no channels."""
    if found.middles is None:
        return None
    from raynas.foreign.block_shapes import shapes_of
    from raynas.supernets.spos_channels import TENTHS, width_of

    return [
        {} if shape is None else
        {width_of(shape.outputs // 2, tenths): f"{tenths // 10}.{tenths % 10}" for tenths in TENTHS}
        for shape in shapes_of(supernet)
    ]  # fmt: skip


def require_shapes(found: Found, supernet: ChainSupernet, file: Path) -> None:
    """Raise `InputError` unless the blocks of a file have the channels and strides of a supernet's.

    A file that does not say them is taken at its word.
    """
    if found.shapes is None:
        return
    from raynas.foreign.block_shapes import shapes_of

    for block, (told, own_shape) in enumerate(zip(found.shapes, shapes_of(supernet), strict=True)):
        same = own_shape is not None and told[:2] == own_shape[:2]
        if own_shape is not None and own_shape.stride and told.stride != own_shape.stride:
            same = False
        require(
            same,
            f"architecture {file}",
            f"for block {block} {own_shape and in_words(*own_shape)}, as this supernet has",
            in_words(*told),
            "Give a network of the same stages, or build the supernet with its stages.",
        )


def in_words(inputs: int, outputs: int, stride: int) -> str:
    """A shape for a person to read."""
    return f"{inputs} to {outputs} channels" + (f" at stride {stride}" if stride else "")
