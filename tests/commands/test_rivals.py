"""Searches beside networks of one choice everywhere: none costs more than its baseline."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import raynas
from raynas.commands import rivals
from raynas.costs.latency import space_digest, this_machine
from raynas.costs.latency_table import LatencyTable, Measurement, Verification
from raynas.errors import InputError
from raynas.ledger.ledger import Ledger
from raynas.testing import small_data, small_supernet

BLOCKS = ((0.001, 0.003, 0.002), (0.004, 0.001, 0.002), (0.002, 0.001, 0.004))
VERIFIED = Verification(((0, 0, 0), (1, 1, 1)), (0.011, 0.012), (0.010, 0.015))


def test_searches_keep_to_the_cost_of_their_baseline(tmp_path: Path) -> None:
    network, data = small_supernet(blocks=3, choices=3), small_data()
    table = LatencyTable(
        this_machine()[0],
        space_digest(network),
        {8: Measurement(0.001, BLOCKS, 0.002, VERIFIED)},
        {"threads": 1},
    )
    latency = raynas.Latency(table=table, batch=8)
    strategy = raynas.PCFES(population=6, generations=3, top_k=3)

    def run() -> list[rivals.Rivals]:
        return rivals.search_beside(network, data, strategy, tmp_path, latency, workers=0)

    found = run()
    names = network.names[0]
    assert [each.name for each in found] == list(names)
    for choice, each in enumerate(found):
        assert each.baseline.architecture == (choice,) * 3
        (alone,) = raynas.evaluate(network, data, [(choice,) * 3])
        assert each.baseline.top1 == alone.top1
        seconds = 0.003 + sum(row[choice] for row in BLOCKS)
        assert each.baseline.costs["latency"] == pytest.approx(seconds)
        for limited, best in each.found.items():
            assert best.costs[limited] <= each.baseline.costs[limited]
            assert set(best.costs) == {"flops", "params", "latency"}
    assert [each.found for each in run()] == [each.found for each in found], "read, not run again"
    console = Console(record=True, width=200)
    console.print(rivals.rivals_table(found))
    shown = console.export_text()
    assert all(f"all {name}" in shown for name in names)


def test_baselines_are_scored_as_the_searches_score(tmp_path: Path) -> None:
    network, data = small_supernet(blocks=2, choices=2), small_data()
    blocks = ((0.001, 0.003), (0.004, 0.001))
    table = LatencyTable(
        this_machine()[0],
        space_digest(network),
        {8: Measurement(0.001, blocks, 0.002, Verification(((0, 0),), (0.01,), (0.01,)))},
        {},
    )
    settings = raynas.Evaluation(batch_norm="inherit")
    ledger = tmp_path / "scores"
    found = rivals.search_beside(
        network,
        data,
        raynas.RandomSearch(population=4, generations=1),
        tmp_path / "runs",
        raynas.Latency(table=table, batch=8),
        workers=0,
        evaluation=settings,
        ledger=ledger,
    )
    for each in found:
        (alone,) = raynas.evaluate(network, data, [each.baseline.architecture], evaluation=settings)
        (calibrated,) = raynas.evaluate(network, data, [each.baseline.architecture])
        assert each.baseline.loss == alone.loss != calibrated.loss
    with Ledger(ledger, read_only=True) as kept:
        assert [context.key.evaluation["batch_norm"] for context in kept.contexts()] == ["inherit"]


def test_choices_of_one_name_make_the_uniform_architectures() -> None:
    network = raynas.supernets.proxylessnas_28x28()
    uniform = rivals.uniform_architectures(network)
    assert list(uniform) == ["e3k3", "e3k5", "e3k7", "e6k3", "e6k5", "e6k7"]
    assert network.decode(uniform["e6k5"]) == ("e6k5",) * 12


def test_a_table_is_measured_once(tmp_path: Path) -> None:
    network = small_supernet(blocks=2, choices=2)
    settings = rivals.TimingSettings(batches=(1,), rounds=1, subnets=2, device="cpu")
    path = tmp_path / "new" / "latency.json"
    table = rivals.measured_table(network, path, settings)
    written = path.read_bytes()
    assert rivals.measured_table(network, path, settings) == table
    assert path.read_bytes() == written
    path.write_text("{}")
    with pytest.raises(InputError, match="table: expected"):
        rivals.measured_table(network, path, settings)
