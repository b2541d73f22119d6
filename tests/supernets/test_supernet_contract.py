"""What every supernet must do, the ones that users write among them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supernet_zoo import ZOO, random_images, scrambled
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raynas.costs import flops_table, params_table
from raynas.errors import InputError
from raynas.export import plain_subnet
from raynas.supernets import ChainSupernet, digest

SUPERNETS = {name: scrambled(build()) for name, build in ZOO.items()}
TABLES = {name: (flops_table(net), params_table(net)) for name, net in SUPERNETS.items()}


@pytest.fixture(params=sorted(SUPERNETS))
def supernet(request: pytest.FixtureRequest) -> ChainSupernet:
    return SUPERNETS[request.param]


def architectures(supernet: ChainSupernet, count: int = 4) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(1)
    return [supernet.space.sample(rng) for _ in range(count)]


def test_passes_its_own_check(supernet: ChainSupernet) -> None:
    supernet.check()


@torch.no_grad()
def test_forward_gives_logits(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    for architecture in architectures(supernet):
        logits = supernet(images, architecture)
        assert logits.shape == (3, supernet.num_classes)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


@torch.no_grad()
def test_ranges_compose_to_the_full_forward(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    blocks = supernet.space.blocks
    for architecture in architectures(supernet):
        whole = supernet(images, architecture)
        for middle in range(1, blocks + 1):
            shallow = supernet(images, architecture, stop=middle)
            assert torch.equal(supernet(shallow, architecture, start=middle), whole)
            for deeper in range(middle, blocks + 1):
                deep = supernet(shallow, architecture, start=middle, stop=deeper)
                assert torch.equal(deep, supernet(images, architecture, stop=deeper))


@torch.no_grad()
def test_a_subnet_is_the_same_network(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    for architecture in architectures(supernet):
        subnet = supernet.subnet(architecture)
        assert torch.equal(subnet(images), supernet(images, architecture))
        shared = {id(tensor) for tensor in supernet.parameters()}
        assert all(id(parameter) in shared for parameter in subnet.parameters())


@torch.no_grad()
def test_an_exported_subnet_is_the_same_network(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    for architecture in architectures(supernet):
        subnet = plain_subnet(supernet, architecture, None)
        assert torch.equal(subnet(images), supernet(images, architecture))


@torch.no_grad()
def test_the_prefix_alone_determines_an_activation(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    first, second = architectures(supernet, 2)
    for depth in range(supernet.space.blocks + 1):
        mixed = first[:depth] + second[depth:]
        expected = supernet(images, first, stop=depth)
        assert torch.equal(supernet(images, mixed, stop=depth), expected)


@torch.no_grad()
def test_evaluation_changes_neither_supernet_nor_input(supernet: ChainSupernet) -> None:
    before = digest(supernet)
    for architecture in architectures(supernet):
        x = random_images(supernet)
        for depth in range(supernet.space.blocks):
            y = supernet(x, architecture, start=depth, stop=depth + 1)
            kept = y.clone()
            supernet(y, architecture, start=depth + 1)
            assert torch.equal(y, kept)
            x = y
    assert digest(supernet) == before


@torch.no_grad()
def test_choices_of_a_block_agree_on_shapes(supernet: ChainSupernet) -> None:
    x = supernet.stem(random_images(supernet))
    for block, choices in enumerate(supernet.space.choices):
        outputs = [supernet.node((0,) * block + (choice,))(x) for choice in range(choices)]
        assert len({output.shape for output in outputs}) == 1
        x = outputs[0]


@torch.no_grad()
def test_copies_and_pickles_compute_the_same(supernet: ChainSupernet) -> None:
    images = random_images(supernet)
    architecture = architectures(supernet)[0]
    expected = supernet(images, architecture)
    for replica in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert torch.equal(replica(images, architecture), expected)
        assert digest(replica) == digest(supernet)


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(SUPERNETS)), seed=st.integers(0, 2**32 - 1))
def test_the_cost_tables_add_up_to_the_subnet(name: str, seed: int) -> None:
    supernet, (flops, params) = SUPERNETS[name], TABLES[name]
    architecture = supernet.space.sample(np.random.default_rng(seed))
    subnet = plain_subnet(supernet, architecture, None)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        subnet(random_images(supernet, 1))
    assert flops.of(architecture) == counter.get_total_flops() // 2
    norms = [m for m in subnet.modules() if isinstance(m, nn.BatchNorm2d) and not m.affine]
    affine = sum(2 * norm.num_features for norm in norms)
    parameters = sum(parameter.numel() for parameter in subnet.parameters())
    assert params.of(architecture) == parameters + affine


def test_sliced_widths_cost_what_they_compute() -> None:
    flops, _ = TABLES["sliced"]
    per_channel = 5 * 5 * (6 + 9 + 6)
    expected = tuple(tuple(4 * (c + 1) * per_channel for c in range(n)) for n in (3, 2))
    assert flops.blocks == expected


@pytest.mark.parametrize("change", ["short", "long", "negative", "too high"])
def test_architecture_errors(supernet: ChainSupernet, change: str) -> None:
    good = [0] * supernet.space.blocks
    bad = {
        "short": good[1:],
        "long": [*good, 0],
        "negative": [-1, *good[1:]],
        "too high": [*good[:-1], supernet.space.choices[-1]],
    }[change]
    with pytest.raises(InputError, match="architecture"):
        supernet.subnet(bad)


def broken(choice_channels: int, classes: int) -> ChainSupernet:
    blocks = [[nn.Conv2d(1, 2, 1), nn.Conv2d(1, choice_channels, 1)]]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, classes))
    stem = ZOO["grey spos"]().stem[0]
    return ChainSupernet(stem, blocks, head, image_shape=(1, 4, 4), num_classes=3)


def test_check_finds_choices_of_different_shapes() -> None:
    broken(2, 3).check()
    with pytest.raises(InputError, match=r"blocks\[0\].*one output shape.*\(2, 3, 4, 4\)"):
        broken(3, 3).check()


def test_check_finds_a_head_with_other_classes() -> None:
    with pytest.raises(InputError, match=r"head.*\(n, 3\).*\(2, 5\)"):
        broken(2, 5).check()


def test_blocks_without_choices_are_refused() -> None:
    with pytest.raises(InputError, match="at least one choice"):
        ChainSupernet(nn.Identity(), [[]], nn.Identity(), image_shape=(1, 1, 1), num_classes=1)
    with pytest.raises(InputError, match="at least one block"):
        ChainSupernet(nn.Identity(), [], nn.Identity(), image_shape=(1, 1, 1), num_classes=1)
