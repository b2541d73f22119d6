"""The trie executes each distinct prefix once, and gives every candidate its own logits."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raynas.evaluation.trie import Node, build_forest, executions, trunk, walk
from raynas.space import Architecture

BLOCKS = 4
POPULATIONS = st.lists(st.tuples(*[st.integers(0, 2)] * BLOCKS), min_size=1, max_size=12)


def chain_of(architecture: Architecture, depth: int) -> list[Architecture]:
    """What one candidate executes behind its first `depth` blocks."""
    stem = [()] if depth == 0 else []
    blocks = [architecture[:end] for end in range(depth + 1, BLOCKS + 1)]
    return [*stem, *blocks, (*architecture, 0)]


def traces(forest: tuple[Node, ...], candidates: int) -> dict[int, list[tuple[float, ...]]]:
    """Which modules each candidate's logits have been through, from a walk that notes them."""
    notes: list[tuple[int, ...]] = []

    def run(path: tuple[int, ...], x: Tensor) -> Tensor:
        notes.append(path)
        return torch.cat([x, torch.tensor([len(notes) - 1.0])])

    seen: dict[int, list[tuple[float, ...]]] = {}

    def finish(node: Node, logits: Tensor) -> None:
        for candidate in node.candidates:
            seen.setdefault(candidate, []).append([notes[int(step)] for step in logits])

    walk(forest, torch.empty(0), run, finish)
    assert set(seen) == set(range(candidates))
    return seen


@given(POPULATIONS, st.integers(0, BLOCKS), st.booleans())
def test_every_candidate_runs_its_own_chain_once(population, depth, sharing):
    prefix = population[0][:depth]
    behind = [prefix + candidate[depth:] for candidate in population]
    forest = build_forest(prefix, behind, sharing=sharing)
    for candidate, chains in traces(forest, len(behind)).items():
        assert chains == [chain_of(behind[candidate], depth)]


@given(POPULATIONS, st.integers(0, BLOCKS))
def test_sharing_runs_each_distinct_prefix_once(population, depth):
    prefix = population[0][:depth]
    behind = [prefix + candidate[depth:] for candidate in population]
    executed = executions(build_forest(prefix, behind))
    assert sorted(executed) == sorted({path for a in behind for path in chain_of(a, depth)})


@given(POPULATIONS, st.integers(0, BLOCKS))
def test_without_sharing_every_candidate_runs_alone(population, depth):
    prefix = population[0][:depth]
    behind = [prefix + candidate[depth:] for candidate in population]
    executed = Counter(executions(build_forest(prefix, behind, sharing=False)))
    assert executed == Counter(path for a in behind for path in chain_of(a, depth))


def test_a_trunk_leads_from_a_shard_to_a_prefix():
    assert trunk(0, (2, 1)) == [(), (2,), (2, 1)]
    assert trunk(1, (2, 1, 0)) == [(2, 1), (2, 1, 0)]
