"""The supernets of inverted bottlenecks at full size: spaces, shapes and published costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import nan
from typing import Any

import numpy as np
import pytest
import torch
from supernet_zoo import random_images
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raynas.costs import CostTable, flops_table, params_table
from raynas.costs.counting import counted_tables
from raynas.errors import InputError
from raynas.supernets import (
    ChainSupernet,
    fairnas,
    fairnas_28x28,
    greedynas,
    greedynas_28x28,
    ponas,
    ponas_8x8,
    ponas_28x28,
    proxylessnas,
    proxylessnas_28x28,
    spos,
)

PLAIN = ("e3k3", "e3k5", "e3k7", "e6k3", "e6k5", "e6k7")
SE = tuple(f"{name}se" for name in PLAIN)

FAIRNAS_A = (
    "e3k7 e3k3 e3k7 e6k3 e6k7 e3k3 e3k3 e6k7 e6k7 e3k5 e6k3 e3k5 e3k5 e6k3 e6k3 e6k7 e6k3 e6k7 e6k5"
)
"""FairNAS-A, from the models that its authors released (Table 2 of PONAS swaps it with -C)."""

PROXYLESS_MOBILE = (
    "e3k5 e3k3 identity identity e3k7 e3k3 e3k5 e3k5 e6k7 e3k5 e3k5 e3k5 e6k5 e3k5 e3k5 e3k5 "
    "e6k7 e6k7 e3k7 e3k7 e6k7"
)
"""ProxylessNAS (mobile), from figure 4 of its paper."""

FULL: dict[str, Callable[[], ChainSupernet]] = {
    "fairnas": fairnas,
    "greedynas": greedynas,
    "greedynas, se": lambda: greedynas(se=True),
    "ponas": ponas,
    "proxylessnas": proxylessnas,
}
NINETEEN = ("fairnas", "ponas")
"""The supernets of 19 blocks, none of which can be left out."""

SPACES = {
    "fairnas": 6**19,
    "greedynas": 6**6 * 7**15,
    "greedynas, se": 12**6 * 13**15,
    "ponas": 12**19,
    "proxylessnas": 6**6 * 7**15,
}
SMALL: dict[str, Callable[[], ChainSupernet]] = {
    "fairnas": fairnas_28x28,
    "greedynas": greedynas_28x28,
    "greedynas, se": lambda: greedynas_28x28(se=True),
    "ponas": ponas_28x28,
    "proxylessnas": proxylessnas_28x28,
}


@cache
def on_meta(name: str) -> ChainSupernet:
    """A supernet of full size without data; nobody changes it."""
    with torch.device("meta"):
        return FULL[name]().eval()


@cache
def full_size_tables(name: str) -> tuple[CostTable, CostTable]:
    """The multiply-accumulates and the parameters of its choices."""
    tables = counted_tables(on_meta(name))
    return tables["flops"], tables["params"]


@pytest.mark.parametrize("name", FULL)
def test_full_size_spaces(name: str) -> None:
    supernet = on_meta(name)
    assert supernet.space.count() == SPACES[name]
    first = PLAIN + (SE if "se" in name or name == "ponas" else ())
    for block, names in enumerate(supernet.names):
        added = block not in stage_starts(supernet)
        identity = ("identity",) if added and name not in NINETEEN else ()
        assert names == first + identity


def stage_starts(supernet: ChainSupernet) -> list[int]:
    """The blocks whose input has another shape than their output."""
    return [0, 2, 6, 10, 14, 18] if supernet.space.blocks == 19 else [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("name", FULL)
def test_macro_architecture(name: str) -> None:
    """The shapes behind every block are those of the paper's table."""
    supernet = on_meta(name)
    wide = 2 if name in NINETEEN else 4
    channels = [32] * wide + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320]
    sizes = [56] * wide + [28] * 4 + [14] * 8 + [7] * 5
    x = supernet.stem(torch.empty((1, 3, 224, 224), dtype=torch.uint8, device="meta"))
    assert x.shape == (1, 16, 112, 112)
    for depth, (width, size) in enumerate(zip(channels, sizes, strict=True), 1):
        x = supernet.node((0,) * depth)(x)
        assert x.shape == (1, width, size, size)
    assert supernet.head[0](x).shape == (1, 1280, 7, 7)  # type: ignore[index, operator]
    assert supernet.head(x).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "published", "macs", "parameters"),
    [
        ("fairnas", FAIRNAS_A, 388_122_848, 4_651_352),
        ("proxylessnas", PROXYLESS_MOBILE, 320_427_584, 4_080_512),
        ("greedynas", PROXYLESS_MOBILE, 320_427_584, 4_080_512),
        ("greedynas, se", PROXYLESS_MOBILE, 320_427_584, 4_080_512),
    ],
)
def test_published_networks(name: str, published: str, macs: int, parameters: int) -> None:
    supernet = on_meta(name)
    architecture = supernet.encode(published.split())
    flops, params = full_size_tables(name)
    assert (flops.of(architecture), params.of(architecture)) == (macs, parameters)
    assert supernet.decode(architecture) == tuple(published.split())


def bottleneck(
    inputs: int, outputs: int, size: int, stride: int, kernel: int, expansion: int, se: bool
) -> tuple[int, int]:
    """Multiply-accumulates and parameters of an inverted bottleneck on `size`² positions."""
    inside, after = expansion * inputs, size // stride
    squeezed = inside // 4
    macs = inputs * inside * size**2 * (expansion > 1)
    macs += (kernel**2 + outputs) * inside * after**2 + 2 * inside * squeezed * se
    params = inputs * inside + 2 * inside if expansion > 1 else 0
    params += (kernel**2 + 2 + outputs) * inside + 2 * outputs
    return macs, params + (2 * inside * squeezed + inside + squeezed) * se


def test_costs_of_ponas_by_a_formula() -> None:
    """Table 1 of the paper, written out for paths of one kind of block."""
    supernet = on_meta("ponas")
    flops, params = full_size_tables("ponas")
    for name in (*PLAIN, *SE):
        path = supernet.encode([name] * 19)
        assert (flops.of(path), params.of(path)) == costs_of_ponas(name)


def costs_of_ponas(name: str) -> tuple[int, int]:
    """Multiply-accumulates and parameters of the path that takes one choice everywhere."""
    widths = [32] * 2 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320]
    halved = [0, 2, 6, 14]
    inputs, size = 16, 112
    stem = bottleneck(32, 16, 112, 1, 3, 1, False)
    total = [27 * 32 * 112**2 + stem[0], 27 * 32 + 2 * 32 + stem[1]]
    for block, outputs in enumerate(widths):
        stride = 2 if block in halved else 1
        kind = (int(name[3]), int(name[1]), name.endswith("se"))
        for place, cost in enumerate(bottleneck(inputs, outputs, size, stride, *kind)):
            total[place] += cost
        inputs, size = outputs, size // stride
    total[0] += 320 * 1280 * 7**2 + 1280 * 1000
    total[1] += 320 * 1280 + 2 * 1280 + 1281 * 1000
    return total[0], total[1]


def test_the_smallest_variant_is_for_digits() -> None:
    supernet = ponas_8x8().eval()
    assert (supernet.image_shape, supernet.space.choices) == ((1, 8, 8), (12,) * 8)
    assert supernet(random_images(supernet), (11,) * 8).shape == (3, 10)


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FULL)
def test_cost_tables_add_up_at_full_size(name: str, count: int) -> None:
    supernet = on_meta(name)
    flops, params = full_size_tables(name)
    rng = np.random.default_rng(0)
    image = torch.empty((1, 3, 224, 224), dtype=torch.uint8, device="meta")
    for _ in range(count):
        architecture = supernet.space.sample(rng)
        subnet = supernet.subnet(architecture)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            subnet(image)
        assert flops.of(architecture) == counter.get_total_flops() // 2
        assert params.of(architecture) == sum(p.numel() for p in subnet.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_small_variants(name: str) -> None:
    supernet = SMALL[name]().eval()
    assert supernet.image_shape == (1, 28, 28)
    assert supernet.space.blocks == 12
    supernet.check()
    assert supernet(random_images(supernet), (0,) * 12).shape == (3, 10)


def test_identity_passes_its_input_on() -> None:
    supernet = proxylessnas_28x28().eval()
    assert isinstance(supernet.node((0, supernet.names[1].index("identity"))), nn.Identity)


def test_squeeze_and_excitation_costs_a_quarter_of_its_channels() -> None:
    supernet = greedynas_28x28(se=True)
    params, flops = params_table(supernet), flops_table(supernet)
    plain, se = supernet.names[0].index("e6k3"), supernet.names[0].index("e6k3se")
    inside = 6 * 8
    squeezed = inside // 4
    biases = inside + squeezed
    assert params.blocks[0][se] - params.blocks[0][plain] == 2 * inside * squeezed + biases
    assert flops.blocks[0][se] - flops.blocks[0][plain] == 2 * inside * squeezed


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"num_classes": None}, "num_classes"),
    ({"num_classes": "10"}, "num_classes"),
    ({"num_classes": 1}, "num_classes"),
    ({"image_size": -1}, "image_size"),
    ({"image_channels": 0, "mean": (), "std": ()}, "image_channels"),
    ({"stem_channels": 0}, "stem_channels"),
    ({"stem_stride": 0}, "stem_stride"),
    ({"head_channels": 1.5}, "head_channels"),
    ({"dropout": 2}, "dropout"),
    ({"dropout": nan}, "dropout"),
    ({"stages": 3}, "stages"),
    ({"stages": "abc"}, "stages"),
    ({"stages": ((16, 2),)}, "stages"),
    ({"stages": ((16, 2, 3),)}, "stages"),
    ({"stages": ((16, 0, 1),)}, "stages"),
    ({"stages": (("16", 2, 1),)}, "stages"),
    ({"mean": (0.5, 0.5)}, "mean and std"),
    ({"mean": 0.5}, "mean and std"),
    ({"std": (0.2, 0.0, 0.2)}, "mean and std"),
    ({"std": (0.2, "0.2", 0.2)}, "mean and std"),
]


@pytest.mark.parametrize(("options", "argument"), WRONG)
@pytest.mark.parametrize("make", [fairnas, greedynas, ponas, proxylessnas, spos])
def test_what_cannot_be_built_is_refused(
    make: Callable[..., ChainSupernet], options: dict[str, Any], argument: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(**options)
    assert caught.value.argument == argument


@pytest.mark.parametrize("make", [fairnas, fairnas_28x28, greedynas_28x28, proxylessnas])
def test_an_option_that_there_is_not_is_refused(make: Callable[..., ChainSupernet]) -> None:
    with pytest.raises(InputError, match=r"options: .*stem_channels.*, got \['stem'\]"):
        make(stem=8)
