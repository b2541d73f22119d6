"""Bit operations that modules state, their table, and limits on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import raynas
from raynas.costs import BitOps, Cost, bitops_table, resolve_limits
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize
from raynas.testing.supernets import small_data, small_supernet

MACS = 6 * 6 * 4 * 4
"""Of a 1×1 convolution of 4 channels on 6×6 pixels."""


class Stating(nn.Module):
    """Runs its layers one after another, and states a number of bit operations a multiply."""

    def __init__(self, factor: Any, *layers: nn.Module) -> None:
        super().__init__()
        self.factor = factor
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def raynas_bitops(self, x: Tensor) -> Any:
        if not isinstance(self.factor, int) or isinstance(self.factor, bool):
            return self.factor
        return self.factor * len(x) * MACS


class Reading(nn.Module):
    """Looks at values, so that it must be counted on data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def conv() -> nn.Module:
    return nn.Conv2d(4, 4, 1)


def chain(*choices: nn.Module, stem: nn.Module | None = None) -> ChainSupernet:
    first = nn.Sequential(Normalize((0.5,), (0.25,)), nn.Conv2d(1, 4, 1), stem or nn.Identity())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    blocks = [list(choices), [Stating(1, conv()), conv()]]
    return ChainSupernet(first, blocks, head, image_shape=(1, 6, 6), num_classes=6)


def test_modules_are_asked_as_often_as_they_run_and_those_inside_are_not() -> None:
    twice = Stating(3, conv())
    supernet = chain(
        nn.Sequential(twice, nn.ReLU(), twice),
        Stating(5, Stating(100, conv()), conv()),
        nn.Sequential(Stating(2, conv()), conv(), Stating(4, conv())),
        conv(),
    )
    table = bitops_table(supernet)
    assert table.name == "bitops"
    assert table.base == 0
    assert table.blocks == ((6 * MACS, 5 * MACS, 6 * MACS, 0), (MACS, 0))


def test_stem_and_head_count_where_they_state_bits() -> None:
    assert bitops_table(chain(conv(), stem=Stating(8))).base == 8 * MACS


def test_it_counts_on_data_where_modules_need_them() -> None:
    table = bitops_table(chain(nn.Sequential(Reading(), Stating(7, conv())), conv()))
    assert table.blocks[0] == (7 * MACS, 0)


@pytest.mark.parametrize("stated", [None, 1.5, -1, "3", True])
def test_statements_that_are_no_number(stated: Any) -> None:
    wrong = Stating(stated, conv())
    with pytest.raises(InputError) as caught:
        bitops_table(chain(conv(), nn.Sequential(wrong)))
    text = "raynas_bitops() to give a whole number from 0 on"
    assert caught.value.argument == "blocks[0][1]"
    assert text in str(caught.value)


def test_limits_and_shares() -> None:
    supernet = chain(Stating(4, conv()), Stating(16, conv()))
    limits = resolve_limits(BitOps(at_most="60%", at_least=5 * MACS), supernet)
    assert limits.limits[0].at_most == Fraction(17 * MACS * 6, 10)
    legal = [a for a in supernet.space.enumerate() if limits.allows(a)]
    assert legal == [(0, 0)]
    assert limits.costs((0, 0)) == {"bitops": 5 * MACS}
    assert resolve_limits([BitOps(at_most=MACS * 16)], supernet).allows((1, 1))


def test_a_limit_on_a_supernet_without_bits_is_refused_before_it_is_run() -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was run")

    supernet = small_supernet()
    supernet.stem.register_forward_pre_hook(never)
    message = "constraint: expected a supernet with quantized modules beside BitOps"
    with pytest.raises(InputError, match=message):
        resolve_limits(BitOps(at_most="60%"), supernet)


def test_a_search_refuses_it_before_any_long_work(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="give quantized modules a method raynas_bitops"):
        raynas.check_search(
            small_supernet(),
            small_data(),
            constraint=raynas.BitOps(at_most=1e9),
            run_dir=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "BitOps: expected at_most, at_least, or both, got neither"),
        ({"at_most": 0}, r"BitOps\(at_most\): expected a positive finite number, got 0"),
        ({"at_least": "0%"}, r"BitOps\(at_least\): expected a share above 0%"),
        ({"at_most": 1, "at_least": 2}, r"BitOps\(at_least\): expected at most 1"),
        ({"at_most": "many"}, r"BitOps\(at_most\): expected a number such as"),
    ],
)
def test_bad_bounds(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BitOps(**bounds)


def test_a_cost_of_ones_own_has_another_name() -> None:
    with pytest.raises(InputError, match=r"Cost\(name\): .* got 'bitops'"):
        Cost([[1]], "bitops")


def test_scores_have_bit_operations_where_the_supernet_states_them() -> None:
    torch.manual_seed(0)
    supernet = chain(Stating(4, conv()), conv())
    scores = raynas.evaluate(supernet, small_data(), [(0, 0), (1, 1)])
    assert [score.costs["bitops"] for score in scores] == [5 * MACS, 0]
    overview = raynas.describe(supernet, small_data(), constraint=BitOps(at_least=MACS), paths=1)
    assert overview.legal == 3
    assert overview.costs["bitops"].most == 5 * MACS
    assert any(f"0 to {5 * MACS:,}" in value for _, value in overview.rows())
    plain = replace(overview, costs={})
    assert not any("bitops" in name for name, _ in plain.rows())
