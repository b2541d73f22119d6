"""One architecture as a network of its own: its parameters, its logits, its fresh weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch
from plain_scoring import calibrated_copy
from torch import Tensor, nn

import raynas
from raynas.costs import flops_table, params_table
from raynas.errors import InputError
from raynas.population.calibration import statistics_for
from raynas.retraining.network import family_rule, reset, standalone
from raynas.supernets import ChainSupernet, digest, fairnas, greedynas, proxylessnas, spos_8x8
from raynas.supernets.chain import batch_norms
from raynas.supernets.inverted import SMALLEST
from raynas.testing.supernets import small_data, small_supernet

FAMILIES: dict[str, Callable[[], ChainSupernet]] = {
    "spos": spos_8x8,
    "proxylessnas": lambda: proxylessnas(10, **asdict(SMALLEST)),
    "fairnas": lambda: fairnas(10, **asdict(SMALLEST)),
    "greedynas": lambda: greedynas(10, se=True, **asdict(SMALLEST)),
    "own": small_supernet,
}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_has_the_costs_that_the_tables_of_its_supernet_say(family: str) -> None:
    supernet = FAMILIES[family]()
    flops, params = flops_table(supernet), params_table(supernet)
    rng = np.random.default_rng(0)
    for _ in range(2):
        architecture = supernet.space.sample(rng)
        network = standalone(supernet, architecture)
        only = (0,) * network.space.blocks
        assert parameters(network) == params.of(architecture) == params_table(network).of(only)
        assert flops_table(network).of(only) == flops.of(architecture)
        assert network.decode(only) == supernet.decode(architecture)
        assert all(norm.affine for norm in batch_norms(network))


def test_inherited_weights_compute_what_the_path_of_the_supernet_does() -> None:
    supernet, data = small_supernet(), small_data()
    before = digest(supernet)
    for architecture in ((0, 1, 2, 3, 3, 2, 1, 0), (3,) * 8):
        statistics = statistics_for(supernet, data, architecture, raynas.Evaluation(device="cpu"))
        network = standalone(supernet, architecture, statistics)
        plain = calibrated_copy(supernet, architecture, data.calibration)
        with torch.no_grad():
            for shard in data.validation:
                images = torch.tensor(shard.features)
                own = network(images, (0,) * 8)
                torch.testing.assert_close(own, plain(images), rtol=1e-5, atol=1e-5)
        for norm in batch_norms(network):
            assert torch.equal(norm.weight, torch.ones_like(norm.weight))
            assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
    assert digest(supernet) == before


def test_nothing_is_shared_with_the_supernet() -> None:
    supernet = small_supernet()
    before = digest(supernet)
    network = standalone(supernet, (0,) * 8)
    theirs = {tensor.data_ptr() for tensor in supernet.state_dict().values()}
    assert all(tensor.data_ptr() not in theirs for tensor in network.state_dict().values())
    reset(network, 3, None)
    assert digest(supernet) == before
    assert not any(norm.affine for norm in batch_norms(supernet))


def drawn(seed: int, supernet: ChainSupernet | None = None) -> dict[str, Tensor]:
    """The state of the same network with fresh weights."""
    taken = spos_8x8() if supernet is None else supernet
    network = standalone(taken, (0, 1, 2, 3, 3, 2, 1, 0))
    reset(network, seed, family_rule(taken))
    return network.state_dict()


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    generator = torch.get_rng_state()
    one = drawn(5)
    assert not torch.equal(torch.get_rng_state(), generator), "a supernet was built"
    trained = spos_8x8()
    with torch.no_grad():
        for tensor in (*trained.parameters(), *trained.buffers()):
            tensor.add_(1)
    generator = torch.get_rng_state()
    again, other = drawn(5, trained), drawn(6, trained)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(one[name], again[name]) for name in one)
    weights = [name for name, tensor in one.items() if tensor.ndim > 1]
    assert not any(torch.equal(one[name], other[name]) for name in weights)
    inherited = standalone(trained, (0, 1, 2, 3, 3, 2, 1, 0)).state_dict()
    assert not any(torch.equal(one[name], inherited[name]) for name in weights)


def test_fresh_weights_follow_the_rule_of_the_family() -> None:
    seeds = [drawn(seed) for seed in range(3)]
    name = "blocks.6.0.branch_main.5.weight"
    weights = torch.stack([state[name] for state in seeds])
    fan_in = weights[0, 0].numel()
    assert fan_in > 8
    assert float(weights.std()) == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    linear = torch.stack([state["head.6.weight"] for state in seeds])
    assert float(linear.std()) == pytest.approx(0.01, rel=0.05)
    for suffix, value in (("running_mean", 0.0), ("running_var", 1.0)):
        for key, tensor in seeds[0].items():
            if key.endswith(suffix):
                assert torch.equal(tensor, torch.full_like(tensor, value))


class Scaled(nn.Module):
    """Weights that only their class knows how to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Redrawn(Scaled):
    """The same, which says how."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, 0.5)


def chain_of(choice: nn.Module) -> ChainSupernet:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    stem = nn.Sequential(raynas.supernets.Normalize((0.5,), (0.3,)), nn.Conv2d(1, 4, 3))
    return ChainSupernet(
        stem, [[nn.Identity(), choice]], head, image_shape=(1, 6, 6), num_classes=6
    )


def test_modules_that_cannot_be_reset_are_refused_by_name() -> None:
    network = standalone(chain_of(nn.Sequential(Scaled())), (1,))
    before = digest(network)
    with pytest.raises(
        InputError, match=r"reset_parameters\(\).*none in blocks\.0\.0\.0\. .*inherit"
    ):
        reset(network, 0, None)
    assert digest(network) == before
    network = standalone(chain_of(Redrawn()), (1,))
    reset(network, 0, None)
    assert torch.equal(network.blocks[0][0].scale, torch.full((4, 1, 1), 0.5))


def test_weights_without_a_gradient_stay() -> None:
    supernet = chain_of(Scaled().requires_grad_(False))
    supernet.stem.requires_grad_(False)
    network = standalone(supernet, (1,))
    reset(network, 0, raynas.supernets.spos.__globals__["initialize"])
    inherited = standalone(supernet, (1,)).state_dict()
    kept = {
        name: torch.equal(tensor, inherited[name]) for name, tensor in network.state_dict().items()
    }
    assert kept == {name: not name.startswith("head.2") for name in inherited}


def test_attention_is_reset_as_torch_builds_it() -> None:
    """Its output layer lies inside it, and gets a bias of zeros from it."""
    attention = nn.MultiheadAttention(8, 2)
    wrapped = nn.Sequential(nn.Flatten(2), attention)
    supernet = ChainSupernet(
        nn.Identity(), [[wrapped]], nn.Identity(), inputs=raynas.Inputs((4,), "float32")
    )
    with torch.no_grad():
        attention.out_proj.bias.fill_(7)
    network = standalone(supernet, (0,))
    reset(network, 0, None)
    own = network.blocks[0][0][1]
    assert torch.equal(own.out_proj.bias, torch.zeros(8))
    assert not torch.equal(own.in_proj_weight, attention.in_proj_weight)


def test_one_dimension_and_three() -> None:
    """Batch norm of any kind gets gain and offset; without statistics it has none in the tables."""
    for norm, shape in ((nn.BatchNorm1d(3, affine=False), (2, 3, 4)),
                        (nn.BatchNorm3d(3, affine=False), (2, 3, 4, 4, 4))):  # fmt: skip
        supernet = ChainSupernet(
            nn.Identity(), [[norm]], nn.Identity(), inputs=raynas.Inputs(shape[1:], "float32")
        )
        network = standalone(supernet, (0,))
        own = network.blocks[0][0]
        x = torch.rand(shape)
        assert torch.equal(own(x), norm.eval()(x))
        assert parameters(network) == 6 == params_table(supernet).of((0,))
    bare = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    supernet = ChainSupernet(
        nn.Identity(), [[bare]], nn.Identity(), inputs=raynas.Inputs((3, 4, 4), "float32")
    )
    assert parameters(standalone(supernet, (0,))) == params_table(supernet).of((0,)) == 0
