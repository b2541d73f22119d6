"""Cost tables: exact sums of integers and of written decimals, and tables that are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import naive_cost, spaces, tables

from raynas.costs import CostTable
from raynas.errors import InputError


@given(st.data())
def test_costs_add_up_exactly(data: st.DataObject) -> None:
    space = data.draw(spaces())
    table = data.draw(tables(space))
    every = list(space.enumerate())
    for architecture in every[:20]:
        expected = naive_cost(table, architecture)
        assert table.of(architecture) == (expected if table.whole else float(expected))
        assert type(table.of(architecture)) is (int if table.whole else float)
    assert table.cheapest() == min(every, key=lambda a: (naive_cost(table, a), a))
    assert table.dearest() == min(every, key=lambda a: (-naive_cost(table, a), a))
    prefix = every[-1][:1]
    behind = list(space.enumerate(prefix))
    assert table.cheapest(prefix) == min(behind, key=lambda a: (naive_cost(table, a), a))


def test_decimals_are_not_binary_fractions() -> None:
    table = CostTable("seconds", 0.1, ((0.2,), (0.3,)))
    assert 0.1 + 0.2 + 0.3 != 0.6
    assert table.of((0, 0)) == 0.6


@pytest.mark.parametrize(
    "blocks",
    [
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        torch.tensor([[1, 2], [3, 4]]),
        [[1, 2], [3, 4]],
        ([np.int64(1), 2], (3, np.uint8(4))),
    ],
)
def test_arrays_and_tensors_are_tables(blocks: Any) -> None:
    table = CostTable("ms", np.int64(0), blocks)  # type: ignore[arg-type]
    assert table == CostTable("ms", 0, ((1, 2), (3, 4)))
    assert type(table.of((0, 1))) is int
    assert hash(table) == hash(CostTable("ms", 0, ((1, 2), (3, 4))))


def test_floats_of_fewer_bits_are_taken_as_they_print() -> None:
    table = CostTable("ms", 0, np.array([[0.1, 0.25]], dtype=np.float32))  # type: ignore[arg-type]
    assert table.blocks == ((0.1, 0.25),)
    assert CostTable("ms", 0, torch.tensor([[0.5]])).of((0,)) == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((), "cost table 'ms': expected at least one block"),
        (((1, 2), ()), "cost table 'ms', block 1: expected at least one choice"),
        ((1, 2), "cost table 'ms', block 0: expected a list with one cost per choice, got 1"),
        (((1, 2), (1, (2, 3))), "block 1, choice 1: expected a finite number"),
        (((1, math.nan),), "block 0, choice 1: expected a finite number, got nan"),
        (((-math.inf,),), "block 0, choice 0: expected a finite number, got -inf"),
        ((("1", 2),), "block 0, choice 0: expected a finite number, got '1'"),
        (((True, 2),), "block 0, choice 0: expected a finite number, got True"),
        (((None,),), "block 0, choice 0: expected a finite number, got None"),
        (((1j,),), "block 0, choice 0: expected a finite number"),
        ("12", "cost table 'ms': expected a list with one list of costs per block"),
        (("12",), "block 0: expected a list with one cost per choice"),
        (7, "cost table 'ms': expected a list"),
        (((1e300, 1e300),), "add up to below 1e300"),
    ],
)
def test_tables_that_are_refused(blocks: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CostTable("ms", 0, blocks)


def test_a_base_or_a_name_that_is_refused() -> None:
    with pytest.raises(InputError, match="'ms', base: expected a finite number, got nan"):
        CostTable("ms", math.nan, ((1,),))
    with pytest.raises(InputError, match="name of a cost table: expected a text, got ''"):
        CostTable("", 0, ((1,),))
