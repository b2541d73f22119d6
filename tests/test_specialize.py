"""Networks that are looked up in an accuracy table: legal, priced, and refused early."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from command_runs import tiny_bottlenecks

import raynas
from raynas.costs import flops_table, params_table
from raynas.errors import InputError
from raynas.evolution import TableSearch
from raynas.supernets.checkpoints import weights_digest

BRIEF = TableSearch(generations=20)


@cache
def scene() -> tuple[raynas.ChainSupernet, raynas.AccuracyTable]:
    """A supernet, and a table that nobody measured."""
    supernet = tiny_bottlenecks()
    values = np.random.default_rng(0).integers(500, 900, (2, 4)) / 1000
    best = tuple(map(int, values.argmax(1)))
    rows = tuple(map(tuple, values.tolist()))
    return supernet, raynas.AccuracyTable(supernet.names, rows, best, weights_digest(supernet))


def test_every_set_of_limits_has_its_network_and_its_optimum() -> None:
    supernet, table = scene()
    flops, params = flops_table(supernet), params_table(supernet)
    own = [[1.0, 2.0, 2.0, 3.0]] * 2
    cheap = (flops.of(flops.cheapest()) + flops.of(flops.dearest())) // 2
    sets: list[Any] = [
        None,
        raynas.FLOPs(at_most=cheap),
        [raynas.FLOPs(at_most="80%"), raynas.Params(at_most="70%", at_least="30%")],
        (raynas.Cost(own, name="ms", at_most=3.0),),
    ]
    found = raynas.specialize(table, supernet, sets, settings=BRIEF)
    assert len(found) == 4
    for constraint, each in zip(sets, found, strict=True):
        limits = raynas.costs.resolve_limits(
            list(constraint) if isinstance(constraint, tuple) else constraint, supernet
        )
        legal = [a for a in supernet.space.enumerate() if limits.allows(a)]
        assert 0 < len(legal) <= 16
        assert each.optimum is not None
        assert each.optimum.proven
        for network in (each.found, each.optimum):
            assert network.architecture in legal
            assert network.lost == min(table.lost.of(a) for a in legal)
            assert network.names == supernet.decode(network.architecture)
            assert network.costs["flops"] == flops.of(network.architecture)
            assert network.costs["params"] == params.of(network.architecture)
            assert network.seconds > 0
        assert each.curve[-1] == each.found.lost
    assert found[0].found.architecture == table.best
    assert found[0].found.lost == 0
    assert found[0].limits == "none"
    assert found[1].limits == f"flops at most {cheap:,}"
    assert found[3].found.costs["ms"] <= 3


def test_a_seed_repeats_each_alone() -> None:
    supernet, table = scene()
    limit = raynas.FLOPs(at_most="75%")
    alone = raynas.specialize(table, supernet, [limit], settings=BRIEF, seed=5)[0]
    second = raynas.specialize(table, supernet, [None, limit], settings=BRIEF, seed=5)[1]
    assert alone.curve == second.curve
    assert alone.found.architecture == second.found.architecture


def test_what_cannot_be_specialised() -> None:
    supernet, table = scene()
    limit = raynas.FLOPs(at_most="75%")
    other = tiny_bottlenecks()
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((table, other, [limit]), "table: expected that of the training"),
        (("table.json", supernet, [limit]), "table: expected an AccuracyTable"),
        ((table, supernet, limit), "constraints: expected a list"),
        ((table, supernet, [limit, 5]), "constraint: expected FLOPs"),
        ((table, supernet, [limit, raynas.FLOPs(at_most=5)]), "constraint: expected a limit of at"),
    ]
    for arguments, text in cases:
        with pytest.raises(InputError, match=text):
            raynas.specialize(*arguments, settings=BRIEF)
    with pytest.raises(InputError, match="seed"):
        raynas.specialize(table, supernet, [limit], seed=-1)
    with pytest.raises(InputError, match="settings: expected a TableSearch"):
        raynas.specialize(table, supernet, [limit], settings=5)  # type: ignore[arg-type]
