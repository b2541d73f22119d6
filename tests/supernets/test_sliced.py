"""Sliced convolutions against torch on explicit slices, and modules that stand for them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.costs import flops_table, params_table
from raynas.errors import InputError
from raynas.export import plain_subnet
from raynas.supernets import ChainSupernet, SlicedConv2d, digest
from raynas.supernets.plain_modules import made_plain
from raynas.supernets.sliced import slice_convolutions

CASES: dict[str, dict[str, Any]] = {
    "dense": {"outputs": 3, "inputs": 2, "kernel": 3, "padding": 1},
    "pointwise": {"outputs": 5, "inputs": 4, "kernel": 1},
    "whole": {"outputs": 6, "inputs": 4, "kernel": 3, "stride": 2, "padding": (1, 0)},
    "depthwise": {"outputs": 4, "inputs": 4, "kernel": 5, "stride": 2, "padding": 2, "groups": 4},
}


def make(case: str) -> SlicedConv2d:
    """A slice of a weight for at most 6 outputs and 4 inputs."""
    options = dict(CASES[case])
    kernel, groups = options.pop("kernel"), options.get("groups", 1)
    torch.manual_seed(0)
    return SlicedConv2d(
        nn.Parameter(torch.randn(6, 4 if groups == 1 else 1, kernel, kernel)), **options
    )


@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradient_are_those_of_the_slice(case: str) -> None:
    conv = make(case)
    x = torch.randn(2, conv.inputs, 7, 6)
    own = conv.weight.detach()[: conv.outputs, : conv.inputs // conv.groups].clone()
    own.requires_grad_()
    expected = F.conv2d(x, own, None, conv.stride, conv.padding, 1, conv.groups)
    found = conv(x)
    assert torch.equal(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    gradient = torch.zeros_like(conv.weight)
    gradient[: conv.outputs, : conv.inputs // conv.groups] = own.grad
    assert torch.equal(conv.weight.grad, gradient)


@pytest.mark.parametrize("case", CASES)
def test_costs_are_those_of_the_plain_convolution(case: str) -> None:
    conv = make(case)
    x = torch.randn(2, conv.inputs, 7, 6)
    plain = conv.raynas_plain()
    macs, parameters = conv.raynas_cost(x)
    assert parameters == sum(each.numel() for each in plain.parameters())
    assert macs == plain(x).numel() * plain.weight[0].numel()


@pytest.mark.parametrize("case", CASES)
def test_plain_convolution_computes_the_same_and_shares_nothing(case: str) -> None:
    conv = make(case)
    x = torch.randn(2, conv.inputs, 7, 6)
    before = torch.get_rng_state()
    plain = conv.raynas_plain()
    assert torch.equal(torch.get_rng_state(), before)
    assert type(plain) is nn.Conv2d
    assert torch.equal(plain(x), conv(x))
    assert plain.weight.untyped_storage().data_ptr() != conv.weight.untyped_storage().data_ptr()
    assert plain.weight.is_contiguous()
    assert plain.weight.untyped_storage().nbytes() == 4 * plain.weight.numel()


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"outputs": 7}, "outputs"),
        ({"outputs": 0}, "outputs"),
        ({"inputs": 5}, "inputs"),
        ({"inputs": 2.0}, "inputs"),
        ({"groups": 2}, "groups"),
        ({"weight": torch.zeros(6, 4, 1, 1)}, "weight"),
        ({"weight": nn.Parameter(torch.zeros(6, 4))}, "weight"),
    ],
)
def test_bad_slices(options: dict[str, Any], argument: str) -> None:
    given = {"weight": nn.Parameter(torch.zeros(6, 4, 1, 1)), "outputs": 6, "inputs": 4}
    with pytest.raises(InputError) as caught:
        SlicedConv2d(**given | options)
    assert caught.value.argument == argument


def branch(middle: int) -> nn.Sequential:
    """Convolutions that depend on the middle in their outputs, in both, and in their inputs."""
    return nn.Sequential(
        nn.Conv2d(2, middle, 1, bias=False),
        nn.BatchNorm2d(middle),
        nn.Sequential(nn.Conv2d(middle, middle, 3, 1, 1, groups=middle, bias=False), nn.ReLU()),
        nn.Conv2d(middle, 2, 1, bias=False),
    )


def widths(*channels: int) -> list[nn.Module]:
    """Branches that share the weights of the widest."""
    torch.manual_seed(0)
    widest, made = branch(max(channels)), [branch(each) for each in channels]
    for each in made:
        slice_convolutions(each, widest)
    return made


def chain(choices: list[nn.Module]) -> ChainSupernet:
    class Pixels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float() / 255

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    return ChainSupernet(Pixels(), [choices], head, image_shape=(2, 5, 5), num_classes=3).eval()


def test_convolutions_are_replaced_by_slices_at_their_places() -> None:
    narrow, wide = widths(3, 5)
    slices = [part for part in narrow.modules() if isinstance(part, SlicedConv2d)]
    assert [(each.outputs, each.inputs, each.groups) for each in slices] == [
        (3, 2, 1),
        (3, 3, 3),
        (2, 3, 1),
    ]
    assert [id(each) for each in narrow.parameters() if each.dim() == 4] == [
        id(each) for each in wide.parameters() if each.dim() == 4
    ]
    assert narrow[1].num_features == 3


def test_layers_that_do_not_match_are_refused() -> None:
    with pytest.raises(InputError, match=r"3: expected a convolution inside both"):
        slice_convolutions(branch(3), branch(5)[:3])
    with pytest.raises(InputError, match=r"outputs: expected from 1 to 3"):
        slice_convolutions(branch(5), branch(3))
    biased = nn.Sequential(nn.Conv2d(2, 3, 1))
    with pytest.raises(InputError, match=r"no bias"):
        slice_convolutions(biased, biased)


def test_supernet_counts_slices_and_copies_keep_sharing() -> None:
    supernet = chain(widths(3, 5))
    assert params_table(supernet).blocks == ((3 * 2 + 6 + 27 + 6, 5 * 2 + 10 + 45 + 10),)
    assert flops_table(supernet).blocks == ((25 * (6 + 27 + 6), 25 * (10 + 45 + 10)),)
    shared = len(list(supernet.blocks.parameters()))
    for blocks in (copy.deepcopy(supernet).blocks, pickle.loads(pickle.dumps(supernet.blocks))):
        assert len(list(blocks.parameters())) == shared


def test_identity_sees_the_slice() -> None:
    supernet = chain(widths(3, 5))
    before = digest(supernet)
    moved = next(part for part in supernet.modules() if isinstance(part, SlicedConv2d))
    moved.padding = (0, 1)
    assert digest(supernet) != before


def test_exported_subnet_owns_its_slices_only() -> None:
    supernet = chain(widths(3, 5))
    x = torch.randint(0, 256, (4, 2, 5, 5), dtype=torch.uint8)
    for choice in range(2):
        subnet = plain_subnet(supernet, (choice,), None)
        assert torch.equal(subnet(x), supernet(x, (choice,)))
        parameters = sum(each.numel() for each in subnet.parameters())
        assert parameters == params_table(supernet).of((choice,))
        assert not any(isinstance(part, SlicedConv2d) for part in subnet.modules())
    assert any(isinstance(part, SlicedConv2d) for part in supernet.modules())


class Stated(nn.Module):
    """A module that says it is something else on its own."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.plain = [plain]

    def forward(self, x: Tensor) -> Tensor:
        return x * 2

    def raynas_plain(self) -> Any:
        if isinstance(self.plain[0], Exception):
            raise self.plain[0]
        return self.plain[0]


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


def test_modules_are_replaced_wherever_they_are() -> None:
    shared, double = Stated(Double()), Double()
    inner = nn.Sequential(shared, nn.Identity())
    outer = nn.ModuleDict({"a": inner, "b": shared, "c": Stated(double)})
    plain = made_plain(outer, "stem")
    assert plain is outer
    assert plain["a"][0] is plain["b"] is shared.plain[0]
    assert plain["c"] is double
    assert made_plain(shared, "stem") is shared.plain[0]
    untouched = nn.Sequential(nn.ReLU())
    assert made_plain(untouched, "stem") is untouched


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (None, r"blocks\[0\]\.1: .*gives a torch.nn.Module, got NoneType"),
        (ValueError("no"), r"blocks\[0\]\.1: .*got ValueError: no"),
        (nn.Identity(), r"blocks\[0\]: .*compute the same, got outputs that differ by up to"),
        (nn.Flatten(), r"blocks\[0\]: .*an output \[2, 50\] instead of \[2, 2, 5, 5\]"),
    ],
)
def test_plain_modules_that_cannot_stand_are_refused(plain: Any, message: str) -> None:
    supernet = chain([nn.Sequential(nn.Identity(), Stated(plain))])
    with pytest.raises(InputError, match=message):
        plain_subnet(supernet, (0,), None)
