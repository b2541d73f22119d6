"""Channel search in the SPOS supernet (SPOS, section 4, "Search Space: Channels", and figure 4).

A choice is a pair: one of the four operations of a block, and the number of channels inside its
main branch (the outputs of its first 1×1 convolution), from 0.2 to 1.6 times the default in steps
of 0.2. The default is half of the block's outputs. Widths are rounded to the nearest whole number;
the paper does not round, and at its full size only those of the first stage, whose default is 32,
are no whole numbers (6.4, 12.8 …).

**Weights.** For each operation every convolution of the main branch has one weight, allocated for
1.6 times the default; a width computes with `weight[:c_out, :c_in]`. So widths of one operation are
trained together, and operations are not. The projection beside the main branch at stride 2 does not
depend on the width: all widths of an operation share it, batch norms included. Batch norms of the
main branch see other activations at each width, and have statistics of their own for each; they
have no gain or offset, as in all SPOS supernets, so that nothing else of them could be shared.

**Training.** A step that takes a width gives its slices a gradient. The rest of the same weights
has the gradient zero, and so it still decays, and moves with the momentum that earlier steps gave
it, as weights in plain PyTorch do; SPOS does not say that it should not. Weights of operations that
no path of a step takes stay exactly as they are, and so do the statistics of widths that none does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from raynas.errors import InputError, require, require_flags
from raynas.supernets import choice_names
from raynas.supernets.blocks import SHUFFLE_KERNELS, ShuffleUnit
from raynas.supernets.sliced import slice_convolutions

TENTHS = (2, 4, 6, 8, 10, 12, 14, 16)
"""The widths, in tenths of a block's default."""

LEAST = 12
"""The fewest channels of a stage of which the eight widths all differ: their default is 6."""

PAIRS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(f"{kind}@{tenths // 10}.{tenths % 10}" for tenths in TENTHS)
    for kind in SHUFFLE_KERNELS
}
"""The names of an operation in all widths, narrowest first."""

TENSOR = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
"""The name of a tensor of a choice: its block, its choice, and its name there."""


@final
@dataclass(frozen=True)
class BlockShape:
    """The channels that a block gets and gives, and its stride."""

    inputs: int
    outputs: int
    stride: int


def channel_blocks(
    shapes: Sequence[BlockShape], fixed: Sequence[str] | None
) -> tuple[list[Sequence[str]], list[list[nn.Module]]]:
    """The names and the modules of the choices of every block.

    Args:
        shapes: of the blocks.
        fixed: the operation of each block; all four if `None`.
    """
    names: list[Sequence[str]] = []
    blocks: list[list[nn.Module]] = []
    for index, shape in enumerate(shapes):
        kinds = tuple(SHUFFLE_KERNELS) if fixed is None else (fixed[index],)
        names.append([name for kind in kinds for name in PAIRS[kind]])
        blocks.append([unit for kind in kinds for unit in units_of(kind, shape)])
    return names, blocks


def units_of(kind: str, shape: BlockShape) -> list[ShuffleUnit]:
    """An operation in all widths, narrowest first, sharing the weights of the widest."""

    def unit(middle: int) -> ShuffleUnit:
        return ShuffleUnit(
            shape.inputs,
            shape.outputs,
            SHUFFLE_KERNELS[kind],
            shape.stride,
            xception=kind == "x",
            middle=middle,
        )

    widths = [width_of(shape.outputs // 2, tenths) for tenths in TENTHS]
    widest, units = unit(widths[-1]), [unit(width) for width in widths]
    for each in units:
        slice_convolutions(each.branch_main, widest.branch_main)
        each.branch_proj = widest.branch_proj
    return units


def width_of(default: int, tenths: int) -> int:
    """So many tenths of a default, to the nearest whole number; no fifths are halfway."""
    return (default * tenths + 5) // 10


def fixed_blocks(
    channels: object, blocks: Iterable[Any] | None, shapes: Sequence[BlockShape]
) -> list[str] | None:
    """The operation of every block by name, if they are fixed.

    Args:
        channels: whether channels are searched.
        blocks: as those of `spos`.
        shapes: of the blocks.

    Raises:
        InputError: blocks without channels, of another number, or with a choice that there is not;
            or stages too narrow for channels.
    """
    require_flags(channels=channels)
    require(
        bool(channels) or blocks is None,
        "blocks",
        "none without channels",
        blocks,
        "Give channels=True to search the channels of these blocks.",
    )
    narrowest = min((shape.outputs for shape in shapes), default=LEAST)
    require(
        not channels or narrowest >= LEAST,
        "stages",
        f"at least {LEAST} channels, so that their eight widths differ",
        narrowest,
        "Widen the stage, or search no channels.",
    )
    return None if blocks is None else kinds_of(blocks, len(shapes))


def kinds_of(blocks: Any, count: int) -> list[str]:
    """The operations that names, pairs or indices say, one for each block.

    Raises:
        InputError: another number of them, or one that there is not.
    """
    single = {pair: kind for kind, pairs in PAIRS.items() for pair in pairs}
    listed = blocks
    if isinstance(blocks, Iterable) and not isinstance(blocks, str | bytes | Mapping):
        listed = [single.get(each, each) if isinstance(each, str) else each for each in blocks]
    names = (tuple(SHUFFLE_KERNELS),) * count
    try:
        return list(choice_names.decode(names, choice_names.encode(names, listed)))
    except InputError as error:
        raise InputError("blocks", error.expected, error.got, error.remedy) from error


def fixed_part(
    recipe: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The tensors of a joint supernet that one with fixed blocks has, under its names.

    Args:
        recipe: of the supernet that is to be filled.
        tensors: of a checkpoint, under the names of `ChainSupernet`.

    Returns:
        All of them as they are, unless the recipe fixes blocks and the checkpoint has the choices
        of all operations.
    """
    fixed = (recipe or {}).get("blocks") if (recipe or {}).get("channels") else None
    parts = {name: match for name in tensors if (match := TENSOR.fullmatch(name))}
    count = len(TENTHS)
    if not fixed or all(int(match[2]) < count for match in parts.values()):
        return tensors
    kinds, found = list(SHUFFLE_KERNELS), {}
    for name, tensor in tensors.items():
        match = parts.get(name)
        if match is None or int(match[1]) >= len(fixed):
            found[name] = tensor
            continue
        kind, width = divmod(int(match[2]), count)
        if kind == kinds.index(fixed[int(match[1])]):
            found[f"blocks.{match[1]}.{width}.{match[3]}"] = tensor
    return found
