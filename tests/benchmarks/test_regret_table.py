"""Searches that are played on a table are the searches that real workers would have made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import MeasuredOutcomes
from small_search import records
from table_pool import TablePool, TableSource, executed_blocks, write_ledger

import raynas
from raynas.costs import Limits
from raynas.evolution.strategy import Problem, State, Strategy
from raynas.generation import Run
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.runlog import GENERATIONS, METRICS, RunLog
from raynas.search import finish
from raynas.supernets import ChainSupernet
from raynas.testing import Table, build_table, small_data, small_supernet
from raynas.workers.pool import LocalPool

SHARED: dict[str, Any] = {"population": 8, "generations": 6, "top_k": 4}
STRATEGIES = {
    "ea": raynas.EA(**SHARED),
    "random": raynas.RandomSearch(**SHARED),
    "cf": raynas.CFES(**SHARED, threshold=0.6),
    "pcf": raynas.PCFES(**SHARED, threshold=0.6, monitor=1),
}
SEED = 2


@pytest.fixture(scope="module")
def supernet() -> ChainSupernet:
    return small_supernet(blocks=5, choices=3)


@pytest.fixture(scope="module")
def data() -> raynas.data.SearchData:
    return small_data()


@pytest.fixture(scope="module")
def table(supernet: ChainSupernet, data: raynas.data.SearchData) -> Table:
    return build_table(supernet, data, raynas.Evaluation(device="cpu"))


def search(
    pool: Any,
    supernet: ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.Evaluation,
    strategy: Strategy,
    run_dir: Path,
) -> tuple[State, PopulationEvaluator]:
    """A whole search, its finalists scored in full."""
    problem = Problem(supernet.space, Limits(supernet.space))
    splits = Splits(data.calibration, data.validation)
    evaluator = PopulationEvaluator(pool, splits, settings, SEED)
    with RunLog(run_dir, {"seed": SEED}, resume=False) as log:
        run = Run(problem, strategy, evaluator, log, SEED, lambda record, metrics: None)
        return finish(run), evaluator


def assert_same_history(real: Path, played: Path, identical: bool) -> None:
    """The same bytes; or all but the last bits of losses, which other batch sizes change."""
    if identical:
        assert (real / GENERATIONS).read_bytes() == (played / GENERATIONS).read_bytes()
        return
    for one, other in zip(records(real), records(played), strict=True):
        for part in ("rescored", "population"):
            losses = [[score.pop("loss") for score in record[part]] for record in (one, other)]
            np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
        assert one == other


def options() -> Iterator[Any]:
    for name in STRATEGIES:
        yield pytest.param(name, {}, id=name)
    yield pytest.param("pcf", {"prefix_sharing": False}, id="pcf, nothing shared")
    for sampling in ("top", "weighted", "disagreement", "random"):
        sampled = {"sample_rate": 0.5, "sampling": sampling}
        yield pytest.param("pcf", sampled, id=f"pcf, {sampling} samples")
    voted = {"sampling": "disagreement", "sample_rate": 0.4, "unfrozen_sample_rate": 0.7}
    for voters in (None, 4):
        yield pytest.param("pcf", voted | {"voters": voters}, id=f"pcf, {voters} first votes")


@pytest.mark.parametrize(("name", "chosen"), list(options()))
def test_search_on_the_table_is_the_real_search(
    name: str,
    chosen: dict[str, Any],
    supernet: ChainSupernet,
    data: raynas.data.SearchData,
    table: Table,
    tmp_path: Path,
) -> None:
    settings = raynas.Evaluation(device="cpu", **chosen)
    real, played = (
        LocalPool(supernet, settings),
        TablePool(TableSource(table), table, sharing=settings.prefix_sharing),
    )
    strategy = STRATEGIES[name]
    state, evaluator = search(real, supernet, data, settings, strategy, tmp_path / "real")
    again, player = search(played, supernet, data, settings, strategy, tmp_path / "played")
    assert_same_history(tmp_path / "real", tmp_path / "played", settings.sample_rate == 1.0)
    assert player.counters.block_forwards == evaluator.counters.block_forwards
    finalists = strategy.finalists(state)
    assert strategy.finalists(again) == finalists
    assert player.score_in_full(finalists) == evaluator.score_in_full(finalists)
    assert name in ("ea", "random") or 0 < len(state.prefix) < supernet.space.blocks


def test_frozen_activations_of_fewer_bits_are_measured(
    supernet: ChainSupernet, data: raynas.data.SearchData, table: Table, tmp_path: Path
) -> None:
    settings = raynas.Evaluation(device="cpu", bits=16)

    def outcomes() -> MeasuredOutcomes:
        return MeasuredOutcomes(table, supernet, data, settings, tmp_path / "known")

    first = outcomes()
    pools: dict[str, Any] = {
        "real": LocalPool(supernet, settings),
        "played": TablePool(first, table),
    }
    for run, pool in pools.items():
        search(pool, supernet, data, settings, STRATEGIES["pcf"], tmp_path / run)
    assert first.measured > 0
    remembered = outcomes()
    search(
        TablePool(remembered, table),
        supernet,
        data,
        settings,
        STRATEGIES["pcf"],
        tmp_path / "remembered",
    )
    assert remembered.measured == 0
    real, played, again = (
        (tmp_path / run / "generations.jsonl").read_bytes()
        for run in ("real", "played", "remembered")
    )
    assert real == played == again


def test_search_takes_all_it_asks_for_from_the_ledger_of_a_table(
    supernet: ChainSupernet, data: raynas.data.SearchData, table: Table, tmp_path: Path
) -> None:
    settings = raynas.Evaluation(device="cpu")
    write_ledger(table, supernet, data, settings, tmp_path / "ledger.sqlite")
    chosen: dict[str, Any] = {"strategy": STRATEGIES["pcf"], "evaluation": settings, "seed": SEED}
    chosen["workers"] = 0
    evaluated = raynas.search(supernet, data, run_dir=tmp_path / "evaluated", **chosen)
    known = raynas.search(
        supernet, data, run_dir=tmp_path / "known", ledger=tmp_path / "ledger.sqlite", **chosen
    )
    assert known.best == evaluated.best
    assert_same_history(tmp_path / "evaluated", tmp_path / "known", identical=True)
    asked = sum(metrics["known"] for metrics in records(tmp_path / "known", METRICS))
    assert asked == known.record["evaluations"]


def test_executed_blocks_are_the_nodes_of_the_trie() -> None:
    population = [(0, 1, 2), (0, 1, 0), (0, 2, 2), (1, 1, 2), (0, 1, 2)]
    assert executed_blocks((), population) == 2 + 3 + 4
    assert executed_blocks((0, 1), [(0, 1, 2), (0, 1, 0)]) == 2
    assert executed_blocks((0,), population[:3], sharing=False) == 6
