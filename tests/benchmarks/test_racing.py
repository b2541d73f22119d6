"""A race drops only candidates that enough others beat, and leaves the others' outcomes alone."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pytest
from exhaustive import Table
from hypothesis import given
from hypothesis import strategies as st
from playing import Truth
from racing import Race, RacingPool, cannot_reach
from tables import Samples, TablePool

from raynas.costs import CostTable, Limit, Limits
from raynas.evolution.strategy import Problem
from raynas.space import SearchSpace

SPACE = SearchSpace((3, 3, 3))


def bits(seed: int, rows: int, samples: int) -> np.ndarray:
    """Correct bits of subnets that are right with different probabilities."""
    rng = np.random.default_rng(seed)
    return rng.random((rows, samples)) < rng.random((rows, 1))


def chance(lead: int, apart: int, remaining: float) -> float:
    """The probability of such a lead of two that end level."""
    return erfc((lead - 0.5) / sqrt(2 * max(apart, 1) * remaining)) / 2


@given(
    st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 60), st.integers(1, 4), st.booleans()
)
def test_dropped_are_those_that_enough_rivals_lead(
    seed: int, rows: int, samples: int, top_k: int, corrected: bool
) -> None:
    known = bits(seed, rows, samples)
    candidates = known[rows // 2 :]
    race = Race(error=0.2, waves=3, corrected=corrected)
    limit = 0.2 / (2 * rows * len(candidates)) if corrected else 0.2
    expected = []
    for candidate in candidates:
        beaten = 0
        for rival in known:
            ahead, behind = int((rival & ~candidate).sum()), int((candidate & ~rival).sum())
            beaten += chance(ahead - behind, ahead + behind, 20 / (samples + 20)) <= limit
        expected.append(beaten >= top_k)
    assert cannot_reach(known, candidates, samples + 20, top_k, race).tolist() == expected


def make_table(seed: int, samples: int = 400) -> Table:
    known = bits(seed, SPACE.count(), samples)
    losses = np.where(known, 0.1, 2.0).astype(np.float32)
    return Table(SPACE, known, known, losses, np.ones(SPACE.count(), dtype=bool), {}, {})


def shards(samples: int = 400, size: int = 50) -> list[Samples]:
    return [Samples(np.arange(start, start + size)) for start in range(0, samples, size)]


@pytest.mark.parametrize("seed", range(5))
def test_race_keeps_the_top_and_saves_work(seed: int) -> None:
    table = make_table(seed)
    population = list(SPACE.enumerate())
    calls = [(shard, population, None) for shard in shards()]
    full = np.concatenate([o.correct for o in TablePool(table, table).run("score", calls)], axis=1)
    pool = RacingPool(table, table, Race(), 5)
    outcomes = pool.run("score", calls)
    raced = np.concatenate([outcome.correct for outcome in outcomes], axis=1)
    finished = np.isfinite(np.concatenate([o.losses for o in outcomes], axis=1)).all(axis=1)
    np.testing.assert_array_equal(raced[finished], full[finished])
    assert set(np.argsort(-full.sum(axis=1), kind="stable")[:5]) <= set(np.flatnonzero(finished))
    assert pool.raced_pairs == sum(int(np.isfinite(o.losses).sum()) for o in outcomes)
    assert pool.pairs == full.size
    assert pool.raced_pairs < 0.8 * pool.pairs
    forwards = sum(outcome.block_forwards for outcome in outcomes)
    assert forwards < sum(o.block_forwards for o in TablePool(table, table).run("score", calls))


def test_incumbents_race_only_under_their_own_protocol() -> None:
    table = make_table(1)
    best = [a for _, a in sorted(zip(-table.top1, SPACE.enumerate(), strict=True))]
    first, second = best[:5], best[-5:]
    here, behind = shards(), [Samples(shard.ids, ((0,),)) for shard in shards()]
    for later, drops in ((here, True), (behind, False)):
        pool = RacingPool(table, table, Race(), 5)
        pool.run("score", [(shard, first, None) for shard in here])
        pool.run("score", [(shard, second, None) for shard in later])
        assert (pool.raced_pairs < pool.pairs) == drops


def test_regret_is_that_to_the_best_legal_architecture() -> None:
    table = make_table(2)
    costs = CostTable("flops", 0, ((1, 2, 3),) * 3)
    truth = Truth.of(table, Problem(SPACE, Limits(SPACE, (Limit(costs, at_most=5),))))
    legal = [a for a in SPACE.enumerate() if sum(a) + 3 <= 5]
    top = max(table.top1[table.row(a)] for a in legal)
    assert truth.best in legal
    assert truth.regret(truth.best) == 0.0
    for architecture in legal:
        lost = truth.regret(architecture)
        assert lost == pytest.approx(100 * (top - table.top1[table.row(architecture)]))
        assert lost >= 0
