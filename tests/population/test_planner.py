"""The plan covers every candidate of every shard once, and is the grid predicted to end first."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.population.planner import (
    UNITS_PER_WORKER,
    Chains,
    part_counts,
    plan,
    predict_makespan,
)

BLOCKS = 4
POPULATIONS = st.lists(st.tuples(*[st.integers(0, 2)] * BLOCKS), min_size=1, max_size=24)
ROWS = st.lists(st.integers(1, 9), min_size=1, max_size=12)
WORKERS = st.integers(0, 32)
DEPTHS = st.integers(0, BLOCKS)


def behind(population, depth):
    """The candidates with the first blocks of the first of them."""
    return [population[0][:depth] + candidate[depth:] for candidate in population]


def trie_cost(candidates, depth, sharing):
    """The oracle: lists the paths of all nodes."""
    paths = [() for _ in candidates if depth == 0]
    paths += [a[:at] for a in candidates for at in range(depth + 1, BLOCKS + 1)]
    paths += [(*a, 0) for a in candidates]
    counted = set(paths) if sharing else paths
    return len(counted)


@settings(max_examples=50)
@given(POPULATIONS, ROWS, WORKERS, DEPTHS, st.booleans())
def test_every_candidate_meets_every_shard_once(population, rows, workers, depth, sharing):
    found = plan(behind(population, depth), rows, workers, depth=depth, sharing=sharing)
    met = Counter((int(c), shard) for part, shard in found.units for c in found.parts[part])
    assert met == Counter((c, s) for c in range(len(population)) for s in range(len(rows)))
    grid = found.arrange(list(found.units))
    assert grid == [[(p, s) for s in range(len(rows))] for p in range(len(found.parts))]


@settings(max_examples=50)
@given(POPULATIONS, ROWS, WORKERS)
def test_parts_are_runs_of_the_sorted_population(population, rows, workers):
    found = plan(population, rows, workers)
    assert [population[i] for part in found.parts for i in part] == sorted(population)
    assert all(len(part) > 0 for part in found.parts)


@given(POPULATIONS, DEPTHS, st.booleans(), st.data())
def test_the_cost_of_a_run_is_that_of_its_trie(population, depth, sharing, data):
    chains = Chains(behind(population, depth), depth=depth, sharing=sharing)
    start = data.draw(st.integers(0, len(population) - 1))
    stop = data.draw(st.integers(start + 1, len(population)))
    members = [behind(population, depth)[i] for i in chains.order[start:stop]]
    assert chains.cost(start, stop) == pytest.approx(trie_cost(members, depth, sharing))


@settings(max_examples=40)
@given(
    st.lists(POPULATIONS.flatmap(st.sampled_from), min_size=1, max_size=8),
    st.integers(1, 5),
    st.booleans(),
)
def test_no_cut_has_a_smaller_largest_part(population, parts, sharing):
    chains = Chains(population, depth=0, sharing=sharing)
    count = len(population)
    found = chains.cut(parts)
    assert len(found) <= parts
    assert [i for span in found for i in range(*span)] == list(range(count))
    best = min(
        max(chains.cost(*span) for span in zip((0, *inner), (*inner, count), strict=True))
        for inner in combinations(range(1, count), min(parts, count) - 1)
    )
    assert max(chains.cost(*span) for span in found) <= best * (1 + 1e-4)


@settings(max_examples=50)
@given(POPULATIONS, ROWS, WORKERS, st.booleans())
def test_units_come_largest_first_and_end_as_predicted(population, rows, workers, sharing):
    found = plan(population, rows, workers, sharing=sharing)
    sizes = [
        rows[shard] * trie_cost([population[i] for i in found.parts[part]], 0, sharing)
        for part, shard in found.units
    ]
    assert sizes == pytest.approx(sorted(sizes, reverse=True))
    ends = [0.0] * max(workers, 1)
    for size in sizes:
        ends[ends.index(min(ends))] += size
    assert found.makespan == pytest.approx(max(ends), rel=1e-6)


@settings(max_examples=50)
@given(POPULATIONS, ROWS, st.integers(2, 32))
def test_the_whole_trie_is_never_predicted_to_end_sooner(population, rows, workers):
    whole = trie_cost(population, 0, sharing=True)
    units = sorted((count * whole for count in rows), reverse=True)
    assert plan(population, rows, workers).makespan <= predict_makespan(units, workers) * (1 + 1e-9)


@given(POPULATIONS, ROWS, st.integers(0, 1))
def test_one_worker_shares_all_prefixes(population, rows, workers):
    assert len(plan(population, rows, workers).parts) == 1


def test_more_workers_than_shards_get_parts_of_the_trie():
    population = [(a, b, 0, 0) for a in range(3) for b in range(3)]
    assert len(plan(population, [10] * 12, 2).parts) == 1
    found = plan(population, [10, 10], 6)
    assert [[population[i][0] for i in part] for part in found.parts] == [[0] * 3, [1] * 3, [2] * 3]


@given(st.integers(1, 200), st.integers(1, 50), st.integers(2, 300))
def test_grids_are_tried_up_to_enough_units_for_each_worker(candidates, shards, workers):
    counts = part_counts(candidates, shards, workers)
    assert counts == sorted(set(counts))
    assert counts[0] == 1
    assert counts[-1] <= candidates
    finer = 2 * counts[-1]
    assert finer > candidates or (finer - 1) * shards >= UNITS_PER_WORKER * workers - shards
