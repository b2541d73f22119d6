"""Plans follow measured times; scores do not, and no candidate meets a sample twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import Scene, scenes
from raynas.evaluation.timing import CallTimes
from raynas.population.units import UnitRunner
from raynas.supernets.equivalence import canonical
from small_population import open_evaluator, small_spos

from raynas.evaluation import Evaluation
from raynas.evaluation.device.numerics import Arithmetic
from raynas.workers.calls import ScoreShard
from raynas.workers.pool import LocalPool


class Claims(LocalPool):
    """Says that it has many workers, and that calls took times which nobody measured."""

    def __init__(self, scene: Scene, workers: int, seed: int, **options: Any) -> None:
        super().__init__(scene.supernet, Evaluation(device="cpu", **options))
        self.workers = workers
        self.rng = np.random.default_rng(seed)
        self.met: Counter[tuple[Any, int]] = Counter()
        self.parts: list[int] = []

    def run(self, calls: Sequence[Any], *, keep: bool = False) -> list[Any]:
        results = super().run(calls, keep=keep)
        if keep:
            return results
        if calls[0].name == "score":
            pairs = ((each, call.shard) for call in calls for each in call.architectures)
            self.met.update((each, int(s)) for each, shard in pairs for s in shard.samples)
        self.parts.append(len(calls) // len({id(call.shard) for call in calls}))
        return [replace(result, times=self.invent(result.times)) for result in results]

    def invent(self, times: CallTimes) -> CallTimes:
        nodes = {
            kind: (float(self.rng.exponential() ** 3), images)
            for kind, (_, images) in times.nodes.items()
        }
        return CallTimes(sum(s for s, _ in nodes.values()) + float(self.rng.exponential()), nodes)


def history(scene: Scene, pool: LocalPool | None, **options: Any) -> list[Any]:
    """Scores before and after a freeze, several generations each."""
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, pool, **options)
    record = [evaluator.score(scene.candidates(count)) for count in (7, 5)]
    evaluator.freeze(trunk[:1], trunk)
    record += [evaluator.score(scene.candidates(count, trunk[:1])) for count in (6, 4)]
    return [*record, evaluator.samples]


@pytest.mark.parametrize("sharing", [True, False])
@settings(max_examples=5, deadline=None, derandomize=True)
@given(scene=scenes, workers=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_neither_times_nor_workers_change_the_history(sharing, scene, workers, seed):
    options = {"prefix_sharing": sharing}
    found = history(scene, Claims(scene, workers, seed, **options), **options)
    assert found == history(scene, None, **options)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(scene=scenes, workers=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_every_distinct_candidate_is_scored_once_on_every_sample(scene, workers, seed):
    pool = Claims(scene, workers, seed)
    evaluator = open_evaluator(scene, pool)
    samples = [int(sample) for shard in scene.validation for sample in shard.samples]
    for count in (8, 8, 3):
        pool.met.clear()
        population = scene.candidates(count)
        evaluator.score(population, reuse=False)
        wanted = {canonical(pool.equivalents, architecture) for architecture in population}
        assert pool.met == Counter((a, s) for a in wanted for s in samples)


def test_what_was_measured_decides_how_the_next_generation_is_cut():
    scene = small_spos()
    shards = scene.validation[:2]
    rows = [shard.rows for shard in shards]
    population = [a for a in scene.supernet.space.enumerate() if max(a) < 2]

    class Slow(Claims):
        """Where it is the calls that take the time."""

        def invent(self, times: CallTimes) -> CallTimes:
            return CallTimes(1e6, times.nodes)

    pool = Slow(scene, 3, 0)
    runner = UnitRunner(pool, sharing=True)
    for _ in range(2):
        runner.run(ScoreShard, population, shards, rows, 0, "inherited", Arithmetic())
    assert pool.parts[0] > 1
    assert pool.parts[1] == 1
