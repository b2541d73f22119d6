"""The plan covers every candidate of every shard once, and keeps neighbours together."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from raynas.distributed.planner import UNITS_PER_WORKER, plan

POPULATIONS = st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=60)


@given(POPULATIONS, st.integers(1, 40), st.integers(0, 32))
def test_every_candidate_meets_every_shard_once(population, shards, workers):
    parts = plan(population, shards, workers)
    units = Counter(
        (int(candidate), shard) for shard in range(shards) for part in parts for candidate in part
    )
    assert units == Counter((c, s) for c in range(len(population)) for s in range(shards))
    assert all(len(part) > 0 for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(POPULATIONS, st.integers(1, 40), st.integers(0, 32))
def test_parts_are_runs_of_the_sorted_population(population, shards, workers):
    order = [population[i] for part in plan(population, shards, workers) for i in part]
    assert order == sorted(population)


@given(POPULATIONS, st.integers(1, 40), st.integers(2, 32))
def test_populations_are_cut_only_as_far_as_workers_would_idle(population, shards, workers):
    parts = len(plan(population, shards, workers))
    assert parts == len(population) or parts * shards >= UNITS_PER_WORKER * workers
    assert parts == 1 or (parts - 1) * shards < UNITS_PER_WORKER * workers


@given(POPULATIONS, st.integers(1, 40), st.integers(0, 1))
def test_one_worker_shares_all_prefixes(population, shards, workers):
    assert len(plan(population, shards, workers)) == 1
