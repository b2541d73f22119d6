"""Files of other projects, written by hand in their formats: the networks that papers publish."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import raynas
from raynas.costs import flops_table, params_table
from raynas.foreign.reading import fitted, read_file
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, fairnas, greedynas, proxylessnas, spos, spos_8x8
from raynas.supernets.spos import SPOS_NAMES

SPOS = (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)
"""The network that the authors of SPOS released."""

SPOS_COSTS = (322_918_720, 3_558_464)

MOBILE = (
    "e3k5 e3k3 identity identity e3k7 e3k3 e3k5 e3k5 e6k7 e3k5 e3k5 e3k5 e6k5 e3k5 e3k5 e3k5 "
    "e6k7 e6k7 e3k7 e3k7 e6k7"
)
"""ProxylessNAS (mobile), from figure 4 of its paper."""

CHOICES = ("e3k3", "e3k5", "e3k7", "e6k3", "e6k5", "e6k7", "identity")
"""The choices of a block of ProxylessNAS's space, in order."""

MOBILE_COSTS = (320_427_584, 4_080_512)

FAIRNAS: dict[str, tuple[str, tuple[int, int]]] = {
    "A": ("3x7 3x3 3x7 6x3 6x7 3x3 3x3 6x7 6x7 3x5 6x3 3x5 3x5 6x3 6x3 6x7 6x3 6x7 6x5",
          (388_122_848, 4_651_352)),
    "B": ("3x5 3x3 3x5 3x3 6x3 3x5 3x7 3x3 6x3 3x5 3x3 6x3 3x7 3x3 6x7 6x5 6x7 6x3 6x5",
          (345_297_632, 4_506_272)),
    "C": ("3x5 3x3 3x7 3x3 3x3 3x3 3x3 3x3 3x3 6x3 3x3 3x3 3x3 3x3 6x7 6x7 6x3 6x3 6x5",
          (321_024_992, 4_397_864)),
}  # fmt: skip
"""The released networks, as expansion and kernel of each block, and their costs. The parameters are
those of the released models; the paper says 388, 345 and 321 M multiply-accumulates."""

BUILDERS: dict[str, Callable[[], ChainSupernet]] = {
    "spos": spos,
    "proxylessnas": proxylessnas,
    "fairnas": fairnas,
    "greedynas": lambda: greedynas(se=True),
}


@cache
def on_meta(family: str) -> ChainSupernet:
    """A supernet of full size without data; nobody changes it."""
    with torch.device("meta"):
        return BUILDERS[family]().eval()


def costs(family: str, architecture: Architecture) -> tuple[int, int]:
    """Multiply-accumulates and parameters of one architecture, counted on it alone."""
    supernet = on_meta(family)
    nodes = [supernet.node(architecture[:depth]) for depth in range(1, len(architecture) + 1)]
    alone = ChainSupernet(
        supernet.stem, [[node] for node in nodes], supernet.head,
        inputs=supernet.inputs, num_classes=supernet.num_classes,
    )  # fmt: skip
    only = (0,) * len(architecture)
    return int(flops_table(alone).of(only)), int(params_table(alone).of(only))


def write(path: Path, value: Any) -> Path:
    """A file in the format that its name says."""
    if path.suffix in (".yaml", ".yml"):
        path.write_text(yaml.safe_dump(value))
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(value))
    elif path.suffix == ".tar":
        torch.save(value, path)
    elif path.suffix == ".py":
        path.write_text(value)
    else:
        path.write_text(json.dumps(value))
    return path


def in_stages(names: list[str], sizes: tuple[int, ...], key: str) -> dict[str, str]:
    """The names of blocks under a key for each stage and block."""
    places = [(stage, block) for stage, size in enumerate(sizes) for block in range(size)]
    return {key.format(*place): name for place, name in zip(places, names, strict=True)}


STAGES = (4, 4, 8, 4)
SHUFFLE_0 = ("ShuffleBlock_3x3", "ShuffleBlock_5x5", "ShuffleBlock_7x7", "ShuffleXception")
SHUFFLE_1 = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "shuffle_xception")
NNI = ("k3", "k5", "k7", "xcep")


def spos_files() -> dict[str, Any]:
    """The released network in every format that has SPOS's space, by file name."""
    old = in_stages([SHUFFLE_0[c] for c in SPOS], STAGES, "stage_{}_block_{}")
    new = in_stages([SHUFFLE_1[c] for c in SPOS], STAGES, "backbone.layers.{}.{}")
    hot = {f"LayerChoice{i}": [c == each for each in range(4)] for i, c in enumerate(SPOS, 1)}
    worse = (0,) * 20
    return {
        "mmrazor 0.yaml": {key: {"chosen": [name]} for key, name in old.items()},
        "mmrazor 1.yaml": {key: {"chosen": name} for key, name in new.items()},
        "mmrazor alias.yaml": new,
        "mmrazor modules.yaml": {"modules": new, "channels": None},
        "mmrazor.json": new,
        # As JSON objects may be, in an order that is not that of the blocks.
        "nni.json": {f"layer_{i}": NNI[c] for i, c in sorted(enumerate(SPOS, 1), key=str)},
        "nni 1.json": dict(sorted(hot.items())),
        "nni indices.json": {f"model_{i}": c for i, c in enumerate(SPOS)},
        "arch.pkl": SPOS,
        "arch list.pkl": list(SPOS),
        "checkpoint.pth.tar": {
            "vis_dict": {
                worse: {"err": 31.5, "visited": True, "flops": 2.9e8},
                SPOS: {"err": 26.0, "visited": True},
                (1,) * 20: {"visited": True},
            },
            "candidates": [worse],
            "epoch": 20,
        },
        "architecture.json": {"architecture": list(SPOS), "top1": 0.7},
        "list.json": list(SPOS),
    }


@pytest.mark.parametrize("name", spos_files())
def test_the_network_of_spos(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / name, spos_files()[name])
    assert fitted(read_file(file), [SPOS_NAMES] * 20, file) == SPOS


@pytest.mark.slow
def test_costs_of_the_network_of_spos(tmp_path: Path) -> None:
    for name, content in spos_files().items():
        found = raynas.read_architecture(write(tmp_path / name, content), on_meta("spos"))
        assert costs("spos", found) == SPOS_COSTS


def proxyless_layers(names: str, widths: tuple[int, ...] = (32, 40, 80, 96, 192, 320)) -> Any:
    """A network in ProxylessNAS's format, of these blocks in stages of these channels."""
    sizes, strides = (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1)
    blocks: list[dict[str, Any]] = [block_config(32, 16, 3, 1, 1)]
    inputs, left = 16, names.split()
    for outputs, size, first in zip(widths, sizes, strides, strict=True):
        for index in range(size):
            name, stride = left.pop(0), first if index == 0 else 1
            if name == "identity":
                zero = {"name": "ZeroLayer", "stride": 1}
                shortcut = {"name": "IdentityLayer", "in_channels": inputs}
                blocks.append({"name": BLOCK, "mobile_inverted_conv": zero, "shortcut": shortcut})
            else:
                blocks.append(block_config(inputs, outputs, int(name[3]), stride, int(name[1])))
            inputs = outputs
    return {"name": "ProxylessNASNets", "bn": {"momentum": 0.1, "eps": 0.001}, "blocks": blocks}


BLOCK = "MobileInvertedResidualBlock"


def block_config(
    inputs: int, outputs: int, kernel: int, stride: int, expansion: int
) -> dict[str, Any]:
    """One block in ProxylessNAS's format."""
    layer = {
        "name": "MBInvertedConvLayer", "in_channels": inputs, "out_channels": outputs,
        "kernel_size": kernel, "stride": stride, "expand_ratio": expansion,
    }  # fmt: skip
    added = stride == 1 and inputs == outputs
    shortcut = {"name": "IdentityLayer", "in_channels": inputs} if added else None
    return {"name": BLOCK, "mobile_inverted_conv": layer, "shortcut": shortcut}


def nni_stages(names: str) -> dict[str, Any]:
    """A network in the format of NNI's ProxylessNAS, with a block beyond the depth of a stage."""
    found: dict[str, Any] = {}
    for stage, start in enumerate(range(0, 21, 4), 2):
        kept = [name for name in names.split()[start : start + 4] if name != "identity"]
        found[f"s{stage}_depth"] = len(kept)
        found |= {f"s{stage}_i{i}": f"k{name[3]}e{name[1]}" for i, name in enumerate(kept)}
    assert found["s2_depth"] == 2
    return found | {"s2_i2": "k7e6"}


def mmrazor_mobile(names: str, first: str, key: str) -> dict[str, str]:
    """A network in mmrazor's format, with the separable convolution as the first block."""
    told = [
        name if name == "identity" else f"{first}_k{name[3]}e{name[1]}{'_se' * ('se' in name)}"
        for name in names.split()
    ]
    return in_stages([f"{first}_k3e1", *told], (1, 4, 4, 4, 4, 4, 1), key)


PROXYLESS: dict[str, Callable[[], Any]] = {
    "proxyless_mobile.config": lambda: proxyless_layers(MOBILE),
    "nni.json": lambda: nni_stages(MOBILE),
    "mmrazor 0.yaml": lambda: mmrazor_mobile(MOBILE, "mbv2", "stage_{}_block_{}"),
    "mmrazor 1.yaml": lambda: mmrazor_mobile(MOBILE, "mb", "backbone.layer{}.{}"),
    "architecture.json": lambda: {
        "names": MOBILE.split(),
        "architecture": [CHOICES.index(name) for name in MOBILE.split()],
    },
}


@pytest.mark.parametrize("name", PROXYLESS)
def test_the_network_of_proxylessnas(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / name, PROXYLESS[name]())
    assert read_file(file).choices == tuple(MOBILE.split())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["proxylessnas", "greedynas"])
def test_costs_of_the_network_of_proxylessnas(family: str, tmp_path: Path) -> None:
    for name, content in PROXYLESS.items():
        found = raynas.read_architecture(write(tmp_path / name, content()), on_meta(family))
        assert costs(family, found) == MOBILE_COSTS


def fairnas_file(blocks: str) -> str:
    """A model file in FairNAS's format."""
    widths = (32, 32, *[40] * 4, *[80] * 4, *[96] * 4, *[192] * 4, 320)
    strides = (2, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
    listed = ",\n".join(
        f"            [{each[0]}, {width}, {each[2]}, {stride}]"
        for each, width, stride in zip(blocks.split(), widths, strides, strict=True)
    )
    return (
        "import torch.nn as nn\nfrom nowhere import nothing\n\n"
        "class Network(nn.Module):\n    def __init__(self, n_class=1000):\n"
        f"        mb_config = [\n            # expansion, out_channel, kernel_size, stride,\n"
        f"{listed},\n        ]\n        input_channel = 16\n        raise SystemExit\n"
    )


@pytest.mark.parametrize("name", FAIRNAS)
def test_the_networks_of_fairnas(name: str, tmp_path: Path) -> None:
    blocks, _ = FAIRNAS[name]
    found = read_file(write(tmp_path / f"FairNAS_{name}.py", fairnas_file(blocks)))
    assert found.choices == tuple(f"e{each[0]}k{each[2]}" for each in blocks.split())
    assert found.shapes is not None
    assert found.shapes[:3] == ((16, 32, 2), (32, 32, 1), (32, 40, 2))
    assert found.shapes[-1] == (192, 320, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAIRNAS)
def test_costs_of_the_networks_of_fairnas(name: str, tmp_path: Path) -> None:
    blocks, published = FAIRNAS[name]
    file = write(tmp_path / f"FairNAS_{name}.py", fairnas_file(blocks))
    found = raynas.read_architecture(file, on_meta("fairnas"))
    assert costs("fairnas", found) == published


def greedynas_file(path: Path) -> tuple[Path, tuple[str, ...]]:
    """A network with squeeze-and-excitation in mmrazor's format, and its choices."""
    names = MOBILE.replace("e6k7", "e6k7se").replace("e3k3 ", "e3k3se ")
    content = mmrazor_mobile(names, "mb", "stage_{}_block_{}")
    return write(path, {key: {"chosen": [content[key]]} for key in content}), tuple(names.split())


def test_a_network_of_the_space_of_greedynas(tmp_path: Path) -> None:
    file, names = greedynas_file(tmp_path / "greedynas.yaml")
    assert read_file(file).choices == names


@pytest.mark.slow
def test_costs_of_a_network_of_the_space_of_greedynas(tmp_path: Path) -> None:
    file, _ = greedynas_file(tmp_path / "greedynas.yaml")
    found = raynas.read_architecture(file, on_meta("greedynas"))
    # Each squeeze-and-excitation adds two 1×1 convolutions of a quarter of the channels, on means.
    inside = [6 * 40, 6 * 96, 6 * 192, 6 * 192, 3 * 32, 3 * 40]
    added = sum(2 * width * (width // 4) for width in inside)
    assert costs("greedynas", found)[0] == MOBILE_COSTS[0] + added


@pytest.fixture(scope="module")
def channels() -> ChainSupernet:
    return spos_8x8(channels=True)


def test_widths_of_nni_are_those_of_the_search_of_channels(
    channels: ChainSupernet, tmp_path: Path
) -> None:
    default = [16] * 4 + [32] * 4
    told = ["c7@1.0", "c5@0.6", "c3@1.0", "x@1.4", "c3@0.2", "c3@0.4", "c5@0.6", "x@1.6"]
    middles = [16, 10, 16, 22, 6, 13, 19, 51]
    assert [
        round(w * float(name.split("@")[1])) for w, name in zip(default, told, strict=True)
    ] == (middles)
    content: dict[str, Any] = {
        f"layer_{i}": NNI[("c3", "c5", "c7", "x").index(name.split("@")[0])]
        for i, name in enumerate(told, 1)
    }
    content |= {f"channel_{i}": middle for i, middle in enumerate(middles, 1)}
    file = write(tmp_path / "nni.json", content)
    assert channels.decode(raynas.read_architecture(file, channels)) == tuple(told)
    # NNI rounds down where this library rounds to the nearest: such a width is none of ours.
    file = write(tmp_path / "other.json", content | {"channel_2": 9})
    with pytest.raises(raynas.InputError, match=r"for block 1 one of .*got 'c5@9'"):
        raynas.read_architecture(file, channels)


def test_a_network_without_widths_has_the_default_ones(
    channels: ChainSupernet, tmp_path: Path
) -> None:
    file = write(tmp_path / "nni.json", {f"layer_{i}": NNI[i % 4] for i in range(1, 9)})
    found = channels.decode(raynas.read_architecture(file, channels))
    assert found == tuple(f"{name}@1.0" for name in ("c5", "c7", "x", "c3") * 2)
