"""PACT, weights of few bits and quantized convolutions against values and gradients by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import atanh, inf, nan
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.costs import bitops_table, flops_table, params_table
from raynas.errors import InputError
from raynas.supernets import PACT, ChainSupernet, QuantizedConv2d, SlicedConv2d, identity
from raynas.supernets.plain_modules import made_plain
from raynas.supernets.quantizers import quantized_weight

INPUTS = [-2.0, -0.1, 0.0, 0.1, 0.24, 0.5, 0.7, 0.99, 1.1, 1.4, 1.49, 1.5, 7.0]
PACT_OUTPUTS = {
    1: [0, 0, 0, 0, 0, 0, 0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5],
    2: [0, 0, 0, 0, 0, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5],
    3: [x * 1.5 / 7 for x in (0, 0, 0, 0, 1, 2, 3, 5, 5, 7, 7, 7, 7)],
    4: [x / 10 for x in (0, 0, 0, 1, 2, 5, 7, 10, 11, 14, 15, 15, 15)],
}
"""At a level of 1.5, in steps of 1.5, 0.5, 1.5 / 7 and 0.1."""


@pytest.mark.parametrize("bits", PACT_OUTPUTS)
def test_activations_by_hand(bits: int) -> None:
    found = PACT(bits, 1.5)(torch.tensor(INPUTS))
    torch.testing.assert_close(found, torch.tensor(PACT_OUTPUTS[bits], dtype=torch.float32))
    assert len(found.unique()) <= 2**bits


@pytest.mark.parametrize("bits", range(1, 9))
def test_activations_are_those_of_the_formula(bits: int) -> None:
    torch.manual_seed(bits)
    x = 2 * torch.randn(30_000, dtype=torch.float64)
    steps, alpha = 2**bits - 1, 2.5
    clipped = 0.5 * (x.abs() - (x - alpha).abs() + alpha)
    expected = torch.round(clipped * steps / alpha) * alpha / steps
    found = PACT(bits, alpha).double()(x)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)
    assert len(found.unique()) == 2**bits


@pytest.mark.parametrize("bits", PACT_OUTPUTS)
def test_gradients_of_activations(bits: int) -> None:
    """Equation 3 of PACT, and straight through the rounding."""
    act, x = PACT(bits, 1.5), torch.tensor(INPUTS, requires_grad=True)
    weights = torch.arange(1.0, 14.0)
    (act(x) * weights).sum().backward()
    inside = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
    assert torch.equal(x.grad, weights * inside)
    assert act.alpha.grad.item() == 12.0 + 13.0


def test_a_level_that_fell_to_zero_can_rise_again() -> None:
    act = PACT(2, 1.0)
    with torch.no_grad():
        act.alpha.fill_(-0.5)
    x = torch.tensor([-1.0, 0.0005, 1.0, 2.0], requires_grad=True)
    y = act(x)
    torch.testing.assert_close(y, torch.tensor([0.0, 0.001 * 2 / 3, 0.001, 0.001]))
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 0, 0]
    assert act.alpha.grad.item() == 2


def test_a_level_is_set_back_to_its_start() -> None:
    act = PACT(2, 1.25)
    with torch.no_grad():
        act.alpha.fill_(7.0)
    act.reset_parameters()
    assert act.alpha.item() == 1.25
    assert act.alpha.requires_grad


def test_what_is_not_finite_stays_so_or_is_clipped() -> None:
    found = PACT(2, 1.5)(torch.tensor([nan, inf, -inf]))
    assert found[0].isnan()
    assert found[1:].tolist() == [1.5, 0.0]


WEIGHTS = [-0.8, -0.5, -0.1, 0.0, 0.2, 0.4, 0.79, 0.8]
"""As values of tanh, of which the largest is 0.8."""
WEIGHT_OUTPUTS = {
    2: [x / 3 for x in (-3, -1, -1, 1, 1, 1, 3, 3)],
    3: [x / 7 for x in (-7, -5, -1, 1, 1, 3, 7, 7)],
    4: [x / 15 for x in (-15, -9, -1, 1, 3, 7, 15, 15)],
}


@pytest.mark.parametrize("bits", WEIGHT_OUTPUTS)
def test_weights_by_hand(bits: int) -> None:
    weight = torch.tensor([atanh(x) for x in WEIGHTS])
    expected = torch.tensor(WEIGHT_OUTPUTS[bits], dtype=torch.float32)
    torch.testing.assert_close(quantized_weight(weight, bits), expected)


def test_weights_of_one_bit_by_hand() -> None:
    weight = torch.tensor([[-3.0, 0.0], [1.0, 2.0]])
    assert quantized_weight(weight, 1).tolist() == [[-1.5, 1.5], [1.5, 1.5]]


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_have_few_values_from_minus_one_to_one(bits: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(3000)
    found = quantized_weight(weight, bits)
    assert len(found.unique()) <= 2**bits
    torch.testing.assert_close(found.unique(), -found.unique().flip(0), rtol=0.0, atol=1e-6)
    if bits > 1:
        assert (found.min(), found.max()) == (-1, 1)
        curved = weight.tanh() / weight.tanh().abs().max()
        assert (found - curved).abs().max() <= 1 / (2**bits - 1) + 1e-6


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_gradients_of_weights(bits: int) -> None:
    """Those of the function without its rounding: of one bit those of the identity."""
    torch.manual_seed(0)
    weight = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, 7, dtype=torch.float64)
    smooth = weight if bits == 1 else weight.tanh() / weight.tanh().abs().max()
    (expected,) = torch.autograd.grad((smooth * upstream).sum(), weight)
    (found,) = torch.autograd.grad((quantized_weight(weight, bits) * upstream).sum(), weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_weights_that_are_all_zero(bits: int) -> None:
    weight = torch.zeros(3, 2, requires_grad=True)
    found = quantized_weight(weight, bits)
    found.sum().backward()
    assert found.isfinite().all()
    assert weight.grad.isfinite().all()
    assert found.abs().max() <= 1 / (2**bits - 1)


def plain(bits: tuple[int, int] = (2, 3), **options: Any) -> QuantizedConv2d:
    torch.manual_seed(1)
    return QuantizedConv2d(nn.Conv2d(4, 6, 3, **{"padding": 1, "bias": False} | options), *bits)


def sliced(bits: tuple[int, int] = (2, 3), outputs: int = 3, inputs: int = 2) -> QuantizedConv2d:
    torch.manual_seed(1)
    weight = nn.Parameter(torch.randn(6, 4, 3, 3))
    return QuantizedConv2d(SlicedConv2d(weight, outputs, inputs, stride=2, padding=1), *bits)


def test_a_slice_is_quantized_as_the_slice_that_it_is() -> None:
    conv, x = sliced(), torch.randn(2, 2, 7, 6)
    own = conv.conv.weight[:3, :2]
    expected = F.conv2d(x, quantized_weight(own, 2), stride=2, padding=1)
    assert torch.equal(conv(x), expected)
    # The largest weight of all is elsewhere.
    assert quantized_weight(own, 2).abs().max() == 1


@pytest.mark.parametrize(
    "options", [{}, {"bias": True}, {"stride": 2, "padding": (0, 2)}, {"groups": 2, "dilation": 2}]
)
def test_plain_convolutions_are_quantized_and_counted(options: dict[str, Any]) -> None:
    conv, x = plain((3, 2), **options), torch.randn(2, 4, 9, 8)
    with torch.no_grad():
        expected = copy.deepcopy(conv.conv)
        expected.weight.copy_(quantized_weight(conv.conv.weight, 3))
        torch.testing.assert_close(conv(x), expected(x))
    assert conv.raynas_bitops(x) == expected(x).numel() * expected.weight[0].numel() * 6
    assert conv.raynas_cost(x) is None


def test_costs_of_a_slice() -> None:
    conv = sliced((2, 4))
    macs = 3 * 2 * 9 * 4 * 3
    assert conv.raynas_cost(torch.empty(1, 2, 7, 6)) == (macs, 3 * 2 * 9)
    assert conv.raynas_bitops(torch.empty(1, 2, 7, 6)) == macs * 2 * 4


def test_outside_a_supernet_it_owns_its_slice_and_still_quantizes() -> None:
    conv, x = sliced(), torch.randn(2, 2, 7, 6)
    alone = made_plain(copy.deepcopy(conv), "conv")
    assert isinstance(alone, QuantizedConv2d)
    assert sum(each.numel() for each in alone.parameters()) == 3 * 2 * 9
    assert torch.equal(alone(x), conv(x))


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 255


def chain(*choices: nn.Module) -> ChainSupernet:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    return ChainSupernet(Pixels(), [choices], head, image_shape=(4, 8, 8), num_classes=3)


def choice(make: Callable[[], nn.Module], alpha: float = 0.5) -> nn.Sequential:
    return nn.Sequential(PACT(2, alpha), make())


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(PACT(3, 0.5), plain((2, 2))),
        nn.Sequential(PACT(2, 0.5), plain((3, 2))),
        nn.Sequential(PACT(2, 0.25), plain((2, 2))),
        nn.Sequential(PACT(2, 0.5), plain((2, 2)).conv),
    ],
    ids=["activations", "weights", "level", "floats"],
)
def test_bits_belong_to_the_identity(other: nn.Module) -> None:
    def make() -> nn.Module:
        return choice(lambda: plain((2, 2)))

    usual = identity(chain(make()))
    assert identity(chain(make())) == usual
    changed = identity(chain(other))
    assert changed.digest != usual.digest
    assert changed.structure != usual.structure
    assert changed.complete


def test_users_can_quantize_convolutions_of_their_own() -> None:
    supernet = chain(
        choice(lambda: plain((2, 2))), choice(lambda: plain((1, 2))), nn.Conv2d(4, 6, 3, 1, 1)
    )
    supernet.check()
    macs = 64 * 4 * 6 * 9
    assert bitops_table(supernet).blocks == ((4 * macs, 2 * macs, 0),)
    assert flops_table(supernet).blocks == ((macs, macs, macs),)
    assert params_table(supernet).blocks == ((217, 217, 222),)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PACT(0, 1.0),
        lambda: PACT(9, 1.0),
        lambda: PACT(2.0, 1.0),
        lambda: PACT(True, 1.0),
        lambda: QuantizedConv2d(nn.Conv2d(1, 1, 1), 0, 2),
        lambda: QuantizedConv2d(nn.Conv2d(1, 1, 1), 2, "2"),
    ],
)
def test_bits_that_are_none(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="bits: expected a whole number from 1 to 8"):
        make()


@pytest.mark.parametrize("alpha", [0.0, -1.0, nan, inf, "1", None])
def test_levels_that_are_none(alpha: Any) -> None:
    with pytest.raises(InputError, match=r"alpha: expected a finite number of at least 0\.001"):
        PACT(2, alpha)


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(1, 1, 3, padding="same"), nn.Conv2d(1, 1, 3, padding_mode="reflect"), None]
)
def test_convolutions_that_cannot_be_quantized(conv: Any) -> None:
    with pytest.raises(InputError, match="conv: expected a convolution that is padded with zeros"):
        QuantizedConv2d(conv, 2, 2)
