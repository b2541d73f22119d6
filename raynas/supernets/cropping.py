"""Cropping the largest choice of a block to the smaller ones (PONAS, section 3.2, figure 1b).

A smaller inverted bottleneck gets the middle of the larger one's kernels, some of the channels
inside it, and its squeeze-and-excitation if it has one itself; where it has none, that is left out.
Batch norms are cropped with the channels that they normalise.

A module of a user's own takes what it can of a larger one in a method

    def raynas_crop(self, larger: nn.Module) -> None

which fills its parameters and buffers, and leaves those of the larger one as they are. Where the
choices of a block have it, the largest is the one of most parameters, the first of equal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from raynas.errors import InputError, describe_error, require
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.inverted import InvertedBottleneck, SqueezeExcitation
from raynas.supernets.node_runs import same_bits

Channels = Literal["first", "important"]
"""The channels inside the larger block that a smaller one gets; see `crop`."""


@final
@dataclass(frozen=True)
class Parts:
    """The layers of an inverted bottleneck.

    Args:
        expand: convolution and batch norm; `None` where nothing is expanded.
        filter: depthwise convolution and batch norm.
        se: squeeze-and-excitation; `None` without.
        project: convolution and batch norm.
    """

    expand: nn.Sequential | None
    filter: nn.Sequential
    se: SqueezeExcitation | None
    project: nn.Sequential

    @staticmethod
    def of(block: InvertedBottleneck) -> Parts:
        """The layers of a block, from the order in which it runs them."""
        *first, middle, last = (each for each in block.layers if isinstance(each, nn.Sequential))
        gates = [each for each in block.layers if isinstance(each, SqueezeExcitation)]
        return Parts(first[0] if first else None, middle, gates[0] if gates else None, last)

    @property
    def size(self) -> tuple[int, int, bool]:
        """Channels inside, kernel, and whether there is squeeze-and-excitation."""
        conv = self.filter[0]
        assert isinstance(conv, nn.Conv2d)
        return conv.out_channels, conv.kernel_size[0], self.se is not None


def largest_choices(supernet: ChainSupernet) -> Architecture:
    """The choice of each block that all others can be cropped from.

    Raises:
        InputError: choices that are neither inverted bottlenecks nor `torch.nn.Identity` in a block
            that has not `raynas_crop` everywhere, or one none of whose choices is the largest in
            every respect.
    """
    found = []
    for block in range(supernet.space.blocks):
        own = own_croppers(supernet, block)
        if own:
            found.append(max(own, key=lambda choice: own[choice]))
            continue
        sizes = sizes_of(supernet, block)
        top = max(sizes, key=lambda choice: sizes[choice])
        for choice, size in sizes.items():
            if any(own > most for own, most in zip(size, sizes[top], strict=True)):
                names = supernet.names[block]
                raise InputError(
                    "supernet",
                    f"a largest choice of block {block}: in channels, kernel and SE",
                    f"{names[top]} beside {names[choice]}",
                    "Add one that has the most of each.",
                )
        found.append(top)
    return tuple(found)


def own_croppers(supernet: ChainSupernet, block: int) -> dict[int, int]:
    """The parameters of the choices of a block, by choice, if all have `raynas_crop` or no layers.

    Returns:
        Nothing where another module is among them.
    """
    choices = supernet.blocks[block]
    assert isinstance(choices, nn.ModuleList)
    modules = {n: each for n, each in enumerate(choices) if not isinstance(each, nn.Identity)}
    if not all(callable(getattr(each, "raynas_crop", None)) for each in modules.values()):
        return {}
    return {n: sum(p.numel() for p in each.parameters()) for n, each in modules.items()}


def sizes_of(supernet: ChainSupernet, block: int) -> dict[int, tuple[int, int, bool]]:
    """The sizes of the inverted bottlenecks of a block, by choice.

    Raises:
        InputError: see `largest_choices`.
    """
    sizes = {}
    choices = supernet.blocks[block]
    assert isinstance(choices, nn.ModuleList)
    for choice, module in enumerate(choices):
        if isinstance(module, nn.Identity):
            continue
        require(
            isinstance(module, InvertedBottleneck),
            "supernet",
            "inverted bottlenecks, which can be cropped, such as those of raynas.supernets.ponas",
            f"a {type(module).__name__} as {supernet.names[block][choice]} of block {block}",
            "Give all its choices a method raynas_crop(self, larger), or take other paths.",
        )
        assert isinstance(module, InvertedBottleneck)
        sizes[choice] = Parts.of(module).size
    require(
        len(sizes) > 0, "supernet", f"an inverted bottleneck in block {block}", "none", "Add one."
    )
    return sizes


@torch.no_grad()
def crop_block(
    supernet: ChainSupernet, block: int, largest: int, channels: Channels = "first"
) -> None:
    """Initialise the choices of a block, in place, from its largest one, which stays as it is.

    Args:
        supernet: of inverted bottlenecks, or of modules with `raynas_crop`.
        block: counted from 0.
        largest: its choice that all others are cropped from; see `largest_choices`.
        channels: see `crop`.

    Raises:
        InputError: a `raynas_crop` that raises, or changes the larger module.
    """
    choices = supernet.blocks[block]
    assert isinstance(choices, nn.ModuleList)
    source = choices[largest]
    if own_croppers(supernet, block):
        for choice, module in enumerate(choices):
            if choice != largest and not isinstance(module, nn.Identity):
                crop_own(module, source, f"blocks[{block}][{choice}]")
        return
    assert isinstance(source, InvertedBottleneck)
    for module in choices:
        if isinstance(module, InvertedBottleneck) and module is not source:
            crop(source, module, channels)


def crop_own(module: nn.Module, larger: nn.Module, name: str) -> None:
    """Let a module of a user take what it can of a larger one.

    Raises:
        InputError: see `crop_block`.
    """
    before = {key: held.clone() for key, held in larger.state_dict().items()}
    expected = "a raynas_crop that fills the module from the larger one"
    try:
        module.raynas_crop(larger)  # type: ignore[operator]
    # Methods of a user raise nearly anything.
    except Exception as error:
        raise InputError(name, expected, describe_error(error), "Mend the method.") from error
    after = larger.state_dict()
    changed = [key for key in before if not same_bits(after.get(key), before[key])]
    require(
        not changed and before.keys() == after.keys(),
        name,
        expected,
        f"one that changes the larger one ({', '.join(changed) or 'its names'})",
        "Copy from it: self.weight.copy_(larger.weight[…]).",
    )


@torch.no_grad()
def crop(source: InvertedBottleneck, target: InvertedBottleneck, channels: Channels) -> None:
    """Fill a block with the matching part of a larger one.

    The paper says only that parameters are cropped, which is the first channels. With `"important"`
    they are those that the projection weighs most, by the sum of magnitudes, as in once-for-all
    networks, which the paper calls similar.

    Args:
        source: the larger block.
        target: the smaller one, of the same input, output and stride.
        channels: `"first"` or `"important"`.
    """
    large, small = Parts.of(source), Parts.of(target)
    inside, kernel, _ = small.size
    kept = chosen(weight_of(large.project[0]).abs().sum((0, 2, 3)), inside, channels)
    if small.expand is not None:
        assert large.expand is not None
        fill(small.expand[0], weight_of(large.expand[0])[kept])
        crop_norm(large.expand[1], small.expand[1], kept)
    middle = (large.size[1] - kernel) // 2
    window = slice(middle, middle + kernel)
    fill(small.filter[0], weight_of(large.filter[0])[kept][:, :, window, window])
    crop_norm(large.filter[1], small.filter[1], kept)
    if small.se is not None:
        assert large.se is not None
        crop_gate(large.se, small.se, kept, channels)
    fill(small.project[0], weight_of(large.project[0])[:, kept])
    crop_norm(large.project[1], small.project[1], torch.arange(weight_of(small.project[0]).size(0)))


def crop_gate(
    source: SqueezeExcitation, target: SqueezeExcitation, kept: Tensor, channels: Channels
) -> None:
    """Fill squeeze-and-excitation with the part of a larger one that sees and scales `kept`."""
    squeeze, excite = source.gate[1], source.gate[3]
    weight = weight_of(excite)[kept]
    inner = chosen(weight.abs().sum((0, 2, 3)), weight_of(target.gate[1]).size(0), channels)
    fill(target.gate[1], weight_of(squeeze)[inner][:, kept], bias_of(squeeze)[inner])
    fill(target.gate[3], weight[:, inner], bias_of(excite)[kept])


def chosen(importance: Tensor, count: int, channels: Channels) -> Tensor:
    """The indices of so many channels, in the order in which they are."""
    if channels == "first" or count == len(importance):
        return torch.arange(count, device=importance.device)
    ranked = torch.sort(importance, descending=True, stable=True).indices
    return ranked[:count].sort().values


def crop_norm(source: nn.Module, target: nn.Module, kept: Tensor) -> None:
    """Fill a batch norm with the gains, offsets and statistics of some channels of another."""
    given = dict(source.state_dict())
    for name, tensor in target.state_dict().items():
        tensor.copy_(given[name][kept.to(given[name].device)] if tensor.ndim else given[name])


def fill(layer: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    """Copy weights, and biases if there are any, into a layer of their shape."""
    weight_of(layer).copy_(weight)
    if bias is not None:
        bias_of(layer).copy_(bias)


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a convolution."""
    assert isinstance(layer, nn.Conv2d)
    return layer.weight


def bias_of(layer: nn.Module) -> Tensor:
    """The bias of a convolution that has one."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.bias
