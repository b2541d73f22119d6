"""Limits as the user states them: numbers, shares, tables, and what is refused."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raynas
from raynas.costs import (
    Cost,
    CostTable,
    FLOPs,
    Limit,
    Limits,
    Params,
    flops_table,
    params_table,
    parse_bound,
    resolve_limits,
)
from raynas.errors import InputError


def supernet() -> raynas.ChainSupernet:
    """Two blocks of two and three choices, on images of 4 by 4."""
    return raynas.ChainSupernet(
        stem=nn.Sequential(raynas.supernets.Normalize((0.3,), (0.4,)), nn.Conv2d(1, 2, 1)),
        blocks=[
            [nn.Conv2d(2, 2, 3, padding=1), nn.Identity()],
            [nn.Conv2d(2, 2, 1), nn.Identity(), nn.Conv2d(2, 2, 3, padding=1)],
        ],
        head=nn.Sequential(nn.Flatten(), nn.Linear(32, 3)),
        image_shape=(1, 4, 4),
        num_classes=3,
    )


MS = ((0.1, 0.2), (0.3, 0.1, 0.2))


def test_no_constraint_allows_everything() -> None:
    limits = resolve_limits(None, supernet())
    assert limits == resolve_limits([], supernet()) == Limits(supernet().space)
    assert limits.count() == 6
    limits.require_feasible()


def test_numbers_are_in_the_unit_of_the_cost() -> None:
    net = supernet()
    limits = resolve_limits([FLOPs(at_most=900.5), Params(at_least=10)], net)
    assert limits.limits == (
        Limit(flops_table(net), 900.5),
        Limit(params_table(net), at_least=10),
    )


@pytest.mark.parametrize("text", ["60%", " 60 % ", "60.0%"])
def test_shares_are_of_the_largest_architecture(text: str) -> None:
    net = supernet()
    table = flops_table(net)
    largest = max(table.of(a) for a in net.space.enumerate())
    limits = resolve_limits(FLOPs(at_most=text), net)
    for architecture in net.space.enumerate():
        assert limits.allows(architecture) == (table.of(architecture) * 10 <= largest * 6)


def test_shares_of_decimals_are_exact() -> None:
    """30 % of 0.5 are 0.15: what costs 0.15 is legal, though 0.3 * 0.5 is below it in floats."""
    table = CostTable("ms", 0.0, ((0.15, 0.5, 0.05), (0.0, 0.0, 0.0)))
    limit = Cost(table, at_most="30%", at_least="10 %").limit(supernet())
    assert (limit.at_most, limit.at_least) == (Fraction("0.15"), Fraction("0.05"))
    assert [limit.allows((choice, 0)) for choice in range(3)] == [True, False, True]


def test_own_costs() -> None:
    net = supernet()
    limits = resolve_limits(Cost(MS, "ms", at_most=0.3), net)
    assert limits.costs((0, 2)) == {"ms": 0.3}
    assert list(limits.enumerate()) == [(0, 1), (0, 2), (1, 1)]
    table = CostTable("ms", 1.0, MS)
    assert Cost(table, at_most=2).priced(net) == table
    assert Cost(table, "latency", at_most=2).priced(net) == CostTable("latency", 1.0, MS)
    assert Cost([[1, 2], np.array([1, 2, 3])], at_most=3).priced(net).name == "cost"
    assert Cost(torch.tensor([[1, 2]]), at_most=3).priced(net).blocks == ((1, 2),)  # type: ignore[arg-type]


def test_several_costs_of_all_kinds() -> None:
    net = supernet()
    limits = resolve_limits(
        (FLOPs(at_most="90%", at_least="10%"), Params(at_most=1e6), Cost(MS, "ms", at_least=0.3)),
        net,
    )
    assert list(limits.tables) == ["flops", "params", "ms"]
    legal = [
        a
        for a in net.space.enumerate()
        if 0.1 * 896 <= flops_table(net).of(a) <= 0.9 * 896 and MS[0][a[0]] + MS[1][a[1]] > 0.29
    ]
    assert list(limits.enumerate()) == legal
    assert limits.count() == len(legal)


def test_two_statements_on_one_cost_are_both_kept() -> None:
    limits = resolve_limits([FLOPs(at_most=800), FLOPs(at_least=300)], supernet())
    assert limits.limits == (Limit(flops_table(supernet()), 800, 300),)


@pytest.mark.parametrize("kind", [FLOPs, Params])
@pytest.mark.parametrize("side", ["at_most", "at_least"])
@pytest.mark.parametrize("bound", [0, -1, math.inf, math.nan, "inf", "-3", "nan", True, [], "x"])
def test_bounds_are_positive_and_finite(kind: type[FLOPs | Params], side: str, bound: Any) -> None:
    with pytest.raises(InputError, match=rf"{kind.__name__}\({side}\)"):
        kind(**{side: bound})


@pytest.mark.parametrize("text", ["0%", "-5%", "100.1%", "inf%", "nan%"])
def test_shares_outside_the_range(text: str) -> None:
    with pytest.raises(InputError, match=r"FLOPs\(at_most\): expected a share above 0% and up to"):
        FLOPs(at_most=text)
    FLOPs(at_most="100%")


def test_no_bound_at_all() -> None:
    with pytest.raises(InputError, match="FLOPs: expected at_most, at_least, or both, got neither"):
        FLOPs()
    with pytest.raises(InputError, match="Params: expected at_most"):
        Params()


def test_a_cost_without_a_bound_limits_nothing() -> None:
    net, flops = supernet(), FLOPs(at_most="90%")
    limits = resolve_limits([Cost(MS, "ms"), flops], net)
    alone = resolve_limits(flops, net)
    assert list(limits.tables) == ["ms", "flops"]
    assert list(limits.enumerate()) == list(alone.enumerate())
    assert limits.count() == alone.count()
    draws = [each.draw((), np.random.default_rng(0)) for each in (limits, alone)]
    assert [next(draws[0]) for _ in range(20)] == [next(draws[1]) for _ in range(20)]
    assert set(limits.description()["ms"]) == {"table"}


@pytest.mark.parametrize(("upper", "lower"), [(3, 4), ("30%", "40%"), (0.1, 0.2)])
def test_a_lower_bound_above_the_upper(upper: Any, lower: Any) -> None:
    with pytest.raises(InputError, match=r"FLOPs\(at_least\): expected at most"):
        FLOPs(at_most=upper, at_least=lower)


def test_a_lower_bound_above_the_upper_that_is_a_share() -> None:
    stated = FLOPs(at_most="10%", at_least=800)
    with pytest.raises(InputError, match=r"at_least of flops: expected at most .*got 800"):
        resolve_limits(stated, supernet())


def test_a_share_of_nothing() -> None:
    stated = Cost([[0, -1], [0, 0, 0]], "gain", at_most="50%")
    with pytest.raises(InputError, match="'gain': expected a positive cost of the largest"):
        resolve_limits(stated, supernet())


def test_a_table_of_another_space() -> None:
    with pytest.raises(InputError, match=r"'ms': expected \[2, 3\] choices .* got \[2\]"):
        resolve_limits(Cost([[1, 2]], "ms", at_most=3), supernet())


def test_tables_of_one_name() -> None:
    other = Cost(((0, 0), (0, 0, 1)), "ms", at_most=1)
    with pytest.raises(InputError, match="two different tables named 'ms'"):
        resolve_limits([Cost(MS, "ms", at_most=1), other], supernet())
    for name in ("flops", "params", "bitops"):
        with pytest.raises(InputError, match=rf"Cost\(name\): .* got '{name}'"):
            Cost(MS, name, at_most=1)


@pytest.mark.parametrize("constraint", [330e6, "60%", [FLOPs(at_most=1), 7], {"FLOPs": 1}])
def test_what_is_no_constraint(constraint: Any) -> None:
    wrong = constraint[-1] if isinstance(constraint, list) else constraint
    message = (
        "constraint: expected FLOPs(…), Params(…), BitOps(…), Cost(…), or a list of them, "
        f"got {wrong!r}."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        resolve_limits(constraint, supernet())


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("330000000", 330_000_000),
        ("3.1e6", 3_100_000.0),
        (" 0.35 ", 0.35),
        ("60%", "60%"),
        ("12.5 %", "12.5%"),
        ("100%", "100%"),
    ],
)
def test_texts_of_the_command_line(text: str, bound: float | str) -> None:
    parsed = parse_bound(text)
    assert parsed == bound
    assert type(parsed) is type(bound)
    assert parse_bound(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "%", "many", "330M", "1,000", "0x10", "nan", "inf", "1e999"])
def test_texts_that_are_no_bound(text: str) -> None:
    with pytest.raises(InputError, match=r"limit: expected a .*Write it as 330000000, 3\.1e6 or"):
        parse_bound(text)
