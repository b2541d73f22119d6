"""ResNets of mixed precision at full size against published numbers, and small ones at work."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from supernet_zoo import random_images, scrambled, small_mixed
from torch import Tensor, nn

import raynas
from raynas.costs import BitOps, bitops_table, resolve_limits
from raynas.costs.counting import chain_costs, table_of
from raynas.errors import InputError
from raynas.evaluation.settings import Evaluation, protocol_for
from raynas.export import export_subnet, plain_subnet
from raynas.supernets import (
    MIXED_BITS,
    PACT,
    ChainSupernet,
    QuantizedConv2d,
    load,
    resnet_mixed,
    resnet_mixed_8x8,
    resnet_mixed_28x28,
    resnet_mixed_32x32,
    save,
)

PUBLISHED = {18: ("6.32", "14.21", "25.27"), 34: ("13.21", "29.72", "52.83")}
"""BitOps of 2W2A, 3W3A and 4W4A (SPOS, table 6), which are in units of 2^30."""

BLOCK_MACS = {18: 1_695_547_392, 34: 3_545_235_456}
"""Of all convolutions in the blocks of ResNets, shortcuts included."""

TORCHVISION = {18: 11_689_512, 34: 21_797_672}
"""Parameters of torchvision's ResNets."""


@cache
def full(depth: int) -> ChainSupernet:
    """At full size, of as many bits for weights as for activations."""
    with torch.device("meta"):
        return resnet_mixed(depth=depth, bits=((2, 2), (3, 3), (4, 4)), widths=(1.0,)).eval()


@pytest.mark.parametrize("depth", PUBLISHED)
def test_full_size_costs(depth: int) -> None:
    supernet = full(depth)
    blocks = supernet.space.blocks
    costs = chain_costs(supernet)
    bitops, flops, params = (
        table_of(name, {node: getattr(cost, name) for node, cost in costs.items()}, supernet)
        for name in ("bitops", "macs", "params")
    )
    stem, head = 112 * 112 * 64 * 3 * 49, 512 * 1000
    for bits, published in zip((2, 3, 4), PUBLISHED[depth], strict=True):
        baseline = supernet.encode([f"w{bits}a{bits}@1.0"] * blocks)
        assert bitops.of(baseline) == BLOCK_MACS[depth] * bits * bits
        assert f"{bitops.of(baseline) / 2**30:.2f}" == published
        assert flops.of(baseline) == BLOCK_MACS[depth] + stem + head
        # Two clipping levels a block.
        assert params.of(baseline) == TORCHVISION[depth] + 2 * blocks
    assert bitops.base == 0


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16)])
def test_full_size_space(depth: int, blocks: int) -> None:
    with torch.device("meta"):
        supernet = resnet_mixed(depth=depth)
    assert supernet.space.choices == (18,) * blocks
    assert supernet.image_shape == (3, 224, 224)
    names = [f"w{w}a{a}@{width}" for w, a in MIXED_BITS for width in (0.5, 1.0, 1.5)]
    assert supernet.names == (tuple(names),) * blocks
    assert "w2a4@1.0" in names
    images = torch.empty(2, 3, 224, 224, dtype=torch.uint8, device="meta")
    sizes = [supernet(images, (0,) * blocks, stop=depth).shape[1:] for depth in (0, 1, blocks)]
    assert [tuple(size) for size in sizes] == [(64, 56, 56), (64, 56, 56), (512, 7, 7)]


def test_limits_of_the_paper() -> None:
    supernet = full(18)
    limits = resolve_limits(BitOps(at_most=14.22 * 2**30), supernet)
    assert limits.allows(supernet.encode(["w3a3@1.0"] * 8))
    assert limits.allows(supernet.encode(["w2a2@1.0"] * 4 + ["w3a3@1.0"] * 4))
    assert not limits.allows(supernet.encode(["w4a4@1.0"] * 8))
    half = resolve_limits(BitOps(at_most="50%"), supernet)
    assert half.limits[0].at_most == 8 * BLOCK_MACS[18]


@pytest.mark.parametrize(
    ("variant", "image_shape"),
    [
        (resnet_mixed_8x8, (1, 8, 8)),
        (resnet_mixed_28x28, (1, 28, 28)),
        (resnet_mixed_32x32, (3, 32, 32)),
    ],
)
def test_small_variants(
    variant: Callable[..., ChainSupernet], image_shape: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        assert variant().space.choices == (18,) * 8
        supernet = variant(bits=((2, 2),), widths=(1,), alpha=2.0).eval()
        images = torch.zeros(2, *image_shape, dtype=torch.uint8)
    assert supernet(images, (0,) * 8).shape == (2, 10)
    assert supernet.image_shape == image_shape
    assert supernet.num_classes == 10
    assert supernet.names == (("w2a2@1.0",),) * 8


@cache
def small() -> ChainSupernet:
    """Every choice of the paper in a few channels, with levels that clip some activations."""
    torch.manual_seed(0)
    supernet = scrambled(small_mixed(bits=MIXED_BITS, widths=(0.5, 1.0, 1.5)))
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, PACT):
                module.alpha.uniform_(0.5, 2.0)
    return supernet


def weights_of_bits(weight: Tensor, bits: int) -> Tensor:
    if bits == 1:
        return torch.where(weight >= 0, 1.0, -1.0) * weight.abs().mean()
    curved, steps = weight.tanh(), 2**bits - 1
    rounded = torch.round((curved / (2 * curved.abs().max()) + 0.5) * steps)
    return 2 * rounded / steps - 1


def clipped(x: Tensor, alpha: Tensor, bits: int) -> Tensor:
    steps = 2**bits - 1
    y = 0.5 * (x.abs() - (x - alpha).abs() + alpha)
    return torch.round(y * steps / alpha) * alpha / steps


def block_by_hand(state: dict[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    """A choice in plain torch, from the state of the widest weights and the choice's name."""
    bits, width = (int(name[1]), int(name[3])), float(name.partition("@")[2])
    first, second = state["layers.0.conv.weight"], state["layers.3.conv.weight"]
    middle = round(width * len(second))

    def convolved(x: Tensor, weight: Tensor, step: int, norm: str) -> Tensor:
        y = F.conv2d(x, weights_of_bits(weight, bits[0]), None, step, weight.shape[-1] // 2)
        return F.batch_norm(y, state[f"{norm}.running_mean"], state[f"{norm}.running_var"])

    a = clipped(x, state["quantize.alpha"], bits[1])
    y = convolved(a, first[:middle], stride, "layers.1")
    y = clipped(y, state["layers.2.alpha"], bits[1])
    y = convolved(y, second[:, :middle], 1, "layers.4")
    if "shortcut.0.conv.weight" in state:
        x = convolved(a, state["shortcut.0.conv.weight"], stride, "shortcut.1")
    return (y + x).relu()


@torch.no_grad()
@pytest.mark.parametrize(("block", "stride"), [(0, 1), (2, 2), (7, 1)])
def test_every_choice_is_what_the_paper_says(block: int, stride: int) -> None:
    supernet = small()
    torch.manual_seed(1)
    inputs = supernet.blocks[block][0].layers[0].conv.inputs
    x = 2 * torch.rand(3, inputs, 6, 6)
    for choice, name in enumerate(supernet.names[block]):
        module = supernet.blocks[block][choice]
        expected = block_by_hand(module.state_dict(), name, x, stride)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_the_choices_of_a_block_share_weights_and_nothing_else() -> None:
    supernet = small_mixed(bits=MIXED_BITS, widths=(0.5, 1.0, 1.5))
    for block, projected in zip(supernet.blocks, (0, 0, 1, 0, 0, 0, 1, 0), strict=True):
        own = {id(parameter): parameter for parameter in block.parameters()}
        weights = [parameter for parameter in own.values() if parameter.ndim == 4]
        stride = block[0].layers[0].conv.stride
        assert len(weights) == 3 if stride == (2, 2) or projected else 2
        assert len(own) == len(weights) + 2 * 18
        norms = {id(module) for module in block.modules() if isinstance(module, nn.BatchNorm2d)}
        assert len(norms) == 18 * len(weights)


@torch.no_grad()
def test_an_exported_subnet_owns_its_slices_and_still_quantizes() -> None:
    supernet = small()
    architecture = supernet.encode(
        ["w1a2@0.5", "w2a2@1.5", "w3a4@1.0", "w4a4@1.5", "w1a4@0.5", "w2a4@1.0", "w1a2@1.5", 0]
    )
    subnet = plain_subnet(supernet, architecture, None)
    images = random_images(supernet)
    assert torch.equal(subnet(images), supernet(images, architecture))
    quantized = [module for module in subnet.modules() if isinstance(module, QuantizedConv2d)]
    assert all(type(module.conv) is nn.Conv2d for module in quantized)
    assert quantized[0].conv.weight.shape == (2, 4, 3, 3)
    assert quantized[0].conv.weight.untyped_storage().nbytes() == 4 * 2 * 4 * 9


@torch.no_grad()
def test_the_program_of_a_subnet_quantizes_without_raynas(tmp_path: Path) -> None:
    """The first three blocks: torch takes seconds for more."""
    whole = small()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    blocks = [list(block) for block in whole.blocks[:3]]
    options = {"image_shape": whole.image_shape, "num_classes": 5, "names": whole.names[:3]}
    supernet = ChainSupernet(whole.stem, blocks, head, **options).eval()
    architecture = supernet.encode(["w1a2@0.5", "w3a4@1.5", "w2a2@1.0"])
    subnet = plain_subnet(supernet, architecture, None)
    description = {"architecture": list(architecture)}
    exported = export_subnet(tmp_path / "best", subnet, supernet.inputs, description)
    exported.require_complete()
    program = torch.export.load(tmp_path / "best" / "model.pt2").module()
    images = random_images(supernet)
    torch.testing.assert_close(program(images), supernet(images, architecture))


def test_bit_operations_add_up_to_those_of_the_subnet() -> None:
    supernet = scrambled(small_mixed())
    table, rng = bitops_table(supernet), np.random.default_rng(0)
    for _ in range(5):
        architecture = supernet.space.sample(rng)
        total = 0

        def count(module: Any, inputs: Any, output: Tensor) -> None:
            nonlocal total
            macs = output[0].numel() * module.conv.weight[0].numel()
            total += macs * module.weight_bits * module.input_bits

        subnet = plain_subnet(supernet, architecture, None)
        for module in subnet.modules():
            if isinstance(module, QuantizedConv2d):
                module.register_forward_hook(count)
        with torch.no_grad():
            subnet(random_images(supernet, 1))
        assert table.of(architecture) == total


def test_it_learns_its_levels_and_weights() -> None:
    supernet = small_mixed().train()
    images, target = random_images(supernet, 16), torch.arange(16) % 5
    choices = supernet.encode(["w1a2@0.5", "w3a4@1.5"] * 4)
    F.cross_entropy(supernet(images, choices), target).backward()
    for block, choice in zip(supernet.blocks, choices, strict=True):
        for each, module in enumerate(block):
            levels = [own.grad for name, own in module.named_parameters() if "alpha" in name]
            assert len(levels) == 2
            assert all((grad is None) == (each != choice) for grad in levels)
        weight = block[0].layers[0].conv.weight.grad
        used = supernet.blocks[0][choice].layers[0].conv.outputs
        assert weight.isfinite().all()
        assert weight[:used].any()
    # What no slice took part in has no gradient.
    assert not supernet.blocks[0][0].layers[0].conv.weight.grad[2:].any()


def test_the_recipe_rebuilds_the_supernet(tmp_path: Path) -> None:
    supernet = small_mixed()
    recipe = dict(supernet.recipe or {})
    assert recipe.pop("builder") == "resnet_mixed"
    rebuilt = resnet_mixed(**recipe)
    assert rebuilt.recipe == supernet.recipe
    assert rebuilt.names == supernet.names
    save(scrambled(supernet), tmp_path / "supernet.safetensors")
    load(rebuilt, tmp_path / "supernet.safetensors")
    images, architecture = random_images(supernet), (3,) * 8
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(images, architecture), supernet(images, architecture))
    size = (tmp_path / "supernet.safetensors").stat().st_size
    assert size < 5 * sum(parameter.numel() for parameter in supernet.parameters()) + 100_000


@pytest.mark.parametrize("name", ["w3a3@1.0", "w2a2@2.0", "w2a2", "w2a2@1", "18"])
def test_choices_that_the_space_does_not_have(name: str) -> None:
    with torch.device("meta"):
        supernet = resnet_mixed_8x8()
    with pytest.raises(InputError, match=r"for block 7 one of w1a2@0\.5, w1a2@1\.0"):
        supernet.encode(["w2a2@1.0"] * 7 + [name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 50}, "depth: expected 18 or 34, the ResNets of basic blocks, got 50"),
        ({"depth": "18"}, "depth: expected 18 or 34"),
        ({"bits": ()}, "bits: expected at least one pair"),
        ({"bits": (2, 2)}, "bits: expected pairs, got 2"),
        ({"bits": ((2, 2, 2),)}, "bits: expected pairs"),
        ({"bits": ((2, 9),)}, "bits: expected a whole number from 1 to 8, got 9"),
        ({"bits": ((0, 2),)}, "bits: expected a whole number from 1 to 8, got 0"),
        ({"bits": ((2, 2), [2, 2])}, "bits: expected each pair once"),
        ({"widths": ()}, "widths: expected at least one"),
        ({"widths": (1.0, 1)}, "widths: expected each once"),
        ({"widths": (-0.5,)}, "widths: expected at least one, each a positive number"),
        ({"widths": (inf,)}, "widths: expected at least one, each a positive number"),
        ({"widths": 1.0}, "widths: expected at least one"),
        ({"widths": (0.3,)}, r"widths: expected multiples of .* whole numbers, got 0\.3 × 64"),
        ({"widths": (0.001,)}, r"widths: expected multiples of .*, got 0\.001 × 64"),
        ({"alpha": 0}, "alpha: expected a finite number"),
        ({"stage_channels": (64, 128)}, "stage_channels: expected four whole numbers"),
        ({"stage_channels": (64, 128, 256, 0)}, "stage_channels: expected four whole numbers"),
        ({"stem_pool": 1}, "stem_pool: expected"),
        ({"stem_kernel": 0}, "stem_kernel: expected a whole number of at least 1"),
        ({"image_channels": 1}, "mean and std: expected 1 values"),
        ({"num_classes": None}, "num_classes: expected a number"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resnet_mixed(**options)


def test_few_bits_are_evaluated_in_full_precision() -> None:
    """Bfloat16 would round before they do, and change the order of candidates."""
    asked = Evaluation(precision="bfloat16", bits=16)
    assert protocol_for(resnet_mixed_8x8(), asked) == Evaluation(precision="float32", bits=16)
    assert protocol_for(raynas.supernets.spos_8x8(), asked) == asked
