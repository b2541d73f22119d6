"""Channel search in the SPOS supernet: widths, sharing, costs, fixed blocks, and training."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from supernet_zoo import channel_spos, grey_spos, random_images, scrambled
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raynas.costs import CostTable, flops_table, params_table
from raynas.errors import InputError
from raynas.supernets import (
    ChainSupernet,
    SlicedConv2d,
    digest,
    load,
    recipe_of,
    save,
    spos,
    spos_8x8,
    spos_28x28,
    spos_32x32,
)
from raynas.supernets.plain_modules import made_plain
from raynas.supernets.spos_channels import width_of
from raynas.workers.replicas import pack, private_copy, unpack

PUBLISHED = (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)
WIDTHS = ("0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6")
KINDS = ("c3", "c5", "c7", "x")
NAMES = tuple(f"{kind}@{width}" for kind in KINDS for width in WIDTHS)


@cache
def full(*blocks: int) -> ChainSupernet:
    """At full size without data; nobody changes it."""
    with torch.device("meta"):
        return spos(channels=True, blocks=blocks or None).eval()


@cache
def tables(*blocks: int) -> tuple[CostTable, CostTable]:
    """Multiply-accumulates and parameters at full size."""
    return flops_table(full(*blocks)), params_table(full(*blocks))


@cache
def joint() -> ChainSupernet:
    return scrambled(channel_spos())


def fixed_one() -> ChainSupernet:
    """With fixed blocks, and thereby small."""
    return scrambled(channel_spos(blocks=("c7", "x")))


def test_a_choice_is_a_pair_of_operation_and_width() -> None:
    assert joint().space.choices == (32,) * 2
    assert joint().names == (NAMES,) * 2
    assert full(*PUBLISHED).names == tuple(NAMES[8 * k : 8 * k + 8] for k in PUBLISHED)


def test_widths_are_tenths_of_half_the_outputs_to_the_nearest() -> None:
    middle = [choice.branch_main[1].num_features for choice in full(*PUBLISHED).blocks[0]]  # type: ignore[index, union-attr]
    assert middle == [6, 13, 19, 26, 32, 38, 45, 51]
    for default in range(6, 400):
        exact = [default * tenths / 10 for tenths in range(2, 17, 2)]
        found = [width_of(default, tenths) for tenths in range(2, 17, 2)]
        assert found == [round(each) for each in exact]
        assert len(set(found)) == 8
    assert len({width_of(5, tenths) for tenths in (2, 4, 6, 8)}) == 4


def test_costs_at_the_default_width_are_those_of_plain_spos() -> None:
    supernet = full(*PUBLISHED)
    default = supernet.encode([f"{KINDS[kind]}@1.0" for kind in PUBLISHED])
    assert [table.of(default) for table in tables(*PUBLISHED)] == [322_918_720, 3_558_464]
    plain = grey_spos(stages=((12, 1, 1), (16, 1, 2)))
    for table in (flops_table, params_table):
        found, expected = table(joint()), table(plain)
        assert tuple(row[4::8] for row in found.blocks) == expected.blocks
        assert found.base == expected.base


@pytest.mark.parametrize(
    "blocks",
    [PUBLISHED, pytest.param((), marks=pytest.mark.slow)],
    ids=["fixed", "joint"],
)
def test_tables_add_up_to_the_exported_subnet_at_full_size(blocks: tuple[int, ...]) -> None:
    supernet = full(*blocks)
    flops, params = tables(*blocks)
    rng = np.random.default_rng(0)
    image = torch.empty((1, 3, 224, 224), dtype=torch.uint8, device="meta")
    for _ in range(3):
        architecture = supernet.space.sample(rng)
        subnet = made_plain(copy.deepcopy(supernet.subnet(architecture)), "subnet")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            subnet(image)
        assert flops.of(architecture) == counter.get_total_flops() // 2
        norms = sum(2 * m.num_features for m in subnet.modules() if isinstance(m, nn.BatchNorm2d))
        assert params.of(architecture) == norms + sum(p.numel() for p in subnet.parameters())


def test_one_weight_per_convolution_and_operation() -> None:
    supernet = joint()
    for block in supernet.blocks:
        for kind in range(4):
            widths = list(block)[8 * kind : 8 * kind + 8]  # type: ignore[arg-type]
            slices = [
                [part.weight for part in each.branch_main if isinstance(part, SlicedConv2d)]
                for each in widths
            ]
            assert len(slices[0]) == (6 if kind == 3 else 3)
            assert len({tuple(map(id, each)) for each in slices}) == 1
            assert len({id(each.branch_proj) for each in widths}) == 1
    owners = sum(
        len(set(map(id, choice.parameters()))) for block in supernet.blocks for choice in block
    )
    assert owners == 8 * len(list(supernet.blocks.parameters()))


def test_small_variants_take_channels() -> None:
    with torch.device("meta"):
        assert spos_8x8(channels=True).space.choices == (32,) * 8
        for build in (spos_28x28, spos_32x32):
            assert build(channels=True, blocks=["c7"] * 12).names == (NAMES[16:24],) * 12


def test_the_recipe_rebuilds_the_supernet() -> None:
    for supernet in (joint(), channel_spos(blocks=("c5@0.6", 3))):
        recipe = json.loads(json.dumps(supernet.recipe))
        assert recipe.pop("builder") == "spos"
        rebuilt = spos(**recipe)
        assert rebuilt.recipe == supernet.recipe
        assert rebuilt.names == supernet.names
    assert supernet.recipe is not None
    assert supernet.recipe["blocks"] == ["c5", "x"]
    assert "channels" not in (spos_8x8().recipe or {})


def test_saved_weights_are_written_once_and_read_back(tmp_path: Path) -> None:
    supernet, file = fixed_one(), tmp_path / "supernet.safetensors"
    save(supernet, file)
    parameters = [name for name in load_file(file) if name.endswith("weight")]
    assert len(parameters) == len(list(supernet.parameters()))
    recipe = dict(recipe_of(file) or {})
    del recipe["builder"]
    other = spos(**recipe).eval()
    load(other, file)
    assert digest(other) == digest(supernet)


@torch.no_grad()
def test_weights_of_a_joint_supernet_load_into_one_with_fixed_blocks(tmp_path: Path) -> None:
    supernet = joint()
    save(supernet, tmp_path / "joint.safetensors")
    torch.save({"module." + k: v for k, v in supernet.state_dict().items()}, tmp_path / "joint.pt")
    images = random_images(supernet)
    for name in ("joint.safetensors", "joint.pt"):
        fixed = channel_spos(blocks=("c7", "x")).eval()
        load(fixed, tmp_path / name)
        for widths in ((0, 7), (4, 4), (5, 2)):
            same = supernet.encode([f"c7@{WIDTHS[widths[0]]}", f"x@{WIDTHS[widths[1]]}"])
            assert torch.equal(fixed(images, widths), supernet(images, same))
    save(fixed, tmp_path / "fixed.safetensors")
    again = channel_spos(blocks=("c7", "x")).eval()
    load(again, tmp_path / "fixed.safetensors")
    assert digest(again) == digest(fixed)


def test_weights_of_other_blocks_are_refused(tmp_path: Path) -> None:
    save(channel_spos(blocks=("c7", "x")), tmp_path / "fixed.safetensors")
    other = channel_spos(blocks=("c7", "c3"))
    before = digest(other)
    with pytest.raises(InputError, match=r"checkpoint: .*built with blocks \['c7', 'x'\]"):
        load(other, tmp_path / "fixed.safetensors")
    assert digest(other) == before
    with pytest.raises(InputError, match="checkpoint"):
        load(channel_spos(), tmp_path / "fixed.safetensors")


def test_replicas_keep_the_sharing() -> None:
    supernet = fixed_one()
    shared = len(list(supernet.parameters()))
    packed = pack(supernet)
    for replica in (private_copy(supernet), unpack(packed)):
        assert len(list(replica.parameters())) == shared
        assert digest(replica) == digest(supernet)
    weight = supernet.node((0,)).branch_main[0].weight  # type: ignore[union-attr, index]
    assert packed.count(weight.detach().numpy().tobytes()) == 1


@pytest.mark.parametrize(
    ("options", "argument", "message"),
    [
        ({"channels": 1}, "channels", "True or False"),
        ({"channels": False, "blocks": ("c3", "c3")}, "blocks", "none without channels"),
        ({"blocks": ("c3",)}, "blocks", "2 choices, one per block, got 1"),
        ({"blocks": "c3,c3"}, "blocks", "2 choices"),
        ({"blocks": 3}, "blocks", "2 choices"),
        ({"blocks": ("c3", "c9")}, "blocks", "for block 1 one of c3, c5, c7, x"),
        ({"blocks": ("c3", "c3@0.3")}, "blocks", "for block 1 one of c3, c5, c7, x"),
        ({"blocks": (0, 4)}, "blocks", "an index from 0 to 3, got 4"),
        ({"stages": ((8, 1, 1),)}, "stages", "at least 12 channels"),
    ],
)
def test_bad_arguments(options: dict[str, Any], argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        channel_spos(**options)
    assert caught.value.argument == argument
