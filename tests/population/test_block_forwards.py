"""Blocks below the frozen prefix are not executed, and all others are counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import Scene, scenes
from small_population import open_evaluator, rows, small_spos
from torch import nn

from raynas.evaluation import Evaluation
from raynas.supernets import ChainSupernet
from raynas.workers.pool import LocalPool


def count_calls(supernet: ChainSupernet) -> Counter[Any]:
    """Counts forwards of `"stem"`, `(block, choice)` and `"head"` from now on."""
    counts: Counter[Any] = Counter()

    def watch(name: Any, module: nn.Module) -> None:
        module.register_forward_hook(lambda *_: counts.update([name]))

    watch("stem", supernet.stem)
    watch("head", supernet.head)
    for block, choices in enumerate(supernet.blocks):
        for index, choice in enumerate(choices):
            watch((block, index), choice)
    return counts


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_nothing_below_the_prefix_is_executed_after_the_freeze(depth, batch_norm, sharing):
    scene = small_spos()
    prefix = scene.candidates(1)[0][:depth]
    protocol = Evaluation(batch_norm=batch_norm, prefix_sharing=sharing, device="cpu")
    pool = LocalPool(scene.supernet, protocol)
    counts = count_calls(pool.evaluator.supernet)
    evaluator = open_evaluator(scene, pool, batch_norm=batch_norm, prefix_sharing=sharing)
    shards = scene.validation + (scene.calibration if batch_norm == "recalibrate" else [])

    evaluator.freeze(prefix, scene.candidates(1, prefix)[0])
    assert counts == {
        "stem": len(shards),
        **{(block, choice): len(shards) for block, choice in enumerate(prefix)},
    }
    assert evaluator.counters.block_forwards == depth * rows(shards)

    counts.clear()
    before = evaluator.counters.block_forwards
    population = list(dict.fromkeys(scene.candidates(6, prefix)))
    evaluator.score(population)
    chains = [a[: k + 1] for a in population for k in range(depth, len(a))]
    nodes = set(chains) if sharing else chains
    heads = set(population) if sharing else population
    executed = Counter((len(path) - 1, path[-1]) for path in nodes)
    assert counts == {
        "head": len(heads) * len(shards),
        **{name: count * len(shards) for name, count in executed.items()},
    }
    assert evaluator.counters.block_forwards - before == len(nodes) * rows(shards)


@settings(max_examples=15)
@given(scenes, st.booleans(), st.data())
def test_counted_forwards_are_those_of_a_naive_count(scene: Scene, sharing, data):
    trunk = scene.candidates(1)[0]
    depth = data.draw(st.integers(0, len(trunk)))
    evaluator = open_evaluator(scene, prefix_sharing=sharing)
    if depth:
        evaluator.freeze(trunk[:depth], trunk)
    images = rows(scene.calibration) + rows(scene.validation)
    assert evaluator.counters.block_forwards == depth * images
    population = list(dict.fromkeys(scene.candidates(5, trunk[:depth])))
    evaluator.score(population)
    chains = [a[: k + 1] for a in population for k in range(depth, len(a))]
    executed = len(set(chains) if sharing else chains)
    assert evaluator.counters.block_forwards == (depth + executed) * images
