"""Estimates of what calls cost, learnt from the times of earlier ones."""

from __future__ import annotations

import pytest
import torch
from random_chains import build_scene

from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.timing import CallTimes
from raynas.population.block_times import DISPATCH_SECONDS, MEMORY, BlockTimes, Costs


def test_nodes_count_one_where_nothing_was_measured():
    costs = BlockTimes().costs("score")
    assert costs == Costs()
    assert (costs.node(0, 0), costs.node(3, 1), costs.call) == (1.0, 1.0, 0.0)


def test_what_was_not_measured_is_as_what_was():
    times = BlockTimes()
    times.update(
        "score", [CallTimes(2.0, {(1, 0): (0.2, 10), (1, 1): (0.4, 10), (2, 0): (1.2, 20)})]
    )
    costs = times.costs("score")
    assert costs.node(1, 0) == pytest.approx(0.02)
    assert costs.node(1, 2) == pytest.approx(0.03)
    assert costs.node(2, 3) == pytest.approx(0.06)
    assert costs.node(9, 0) == pytest.approx((0.02 + 0.04 + 0.06) / 3)
    assert costs.call == pytest.approx(0.2 + DISPATCH_SECONDS)
    assert times.costs("calibrate") == Costs()


def test_estimates_are_means_that_follow_what_changes():
    times = BlockTimes()
    times.update("score", [CallTimes(50.0, {(1, 0): (50.0, 1)})])
    assert times.costs("score").node(1, 0) == pytest.approx(50.0)
    # The first execution also loaded what it needs.
    times.update("score", [CallTimes(s, {(1, 0): (s, 1)}) for s in (1.0, 3.0)])
    assert times.costs("score").node(1, 0) == pytest.approx(2.0)
    times.update("score", [CallTimes(10.0, {(1, 0): (10.0, 1)})] * 10 * MEMORY)
    assert times.costs("score").node(1, 0) == pytest.approx(10.0, rel=1e-3)


def test_calls_that_measured_nothing_teach_nothing():
    times = BlockTimes()
    times.update("score", [CallTimes(), CallTimes()])
    assert times.costs("score") == Costs()


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]
)
@pytest.mark.parametrize("sharing", [True, False])
def test_calls_tell_the_time_of_each_kind_of_node_and_its_images(sharing, device):
    scene = build_scene(3)
    evaluator = Evaluator(scene.supernet, Evaluation(device=device, prefix_sharing=sharing))
    population = scene.candidates(5)
    blocks = len(population[0])
    prefixes = [a[:k] for a in population for k in range(blocks + 1)]
    prefixes += [(*a, 0) for a in population]
    nodes = set(prefixes) if sharing else prefixes
    for shard, outcome in (
        (scene.calibration[0], evaluator.calibrate(scene.calibration[0], population)),
        (scene.validation[0], evaluator.score(scene.validation[0], population, "inherited")),
    ):
        times = outcome.times
        expected: dict[tuple[int, int], int] = {}
        for path in nodes:
            kind = (len(path), path[-1] if path else 0)
            expected[kind] = expected.get(kind, 0) + shard.rows
        assert {kind: images for kind, (_, images) in times.nodes.items()} == expected
        assert all(seconds > 0.0 for seconds, _ in times.nodes.values())
        assert sum(seconds for seconds, _ in times.nodes.values()) <= times.seconds < 60.0
