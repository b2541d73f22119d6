"""However a generation is cut, scores are the same, and no candidate meets a sample twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import Scene, scenes
from small_population import open_evaluator, rows, small_spos

from raynas.evaluation import Evaluation
from raynas.space import Architecture
from raynas.workers.calls import Call, ScoreShard
from raynas.workers.pool import LocalPool


class Claims(LocalPool):
    """Says that it has many workers, and notes what is scored."""

    def __init__(self, scene: Scene, workers: int, **options: Any) -> None:
        super().__init__(scene.supernet, Evaluation(device="cpu", **options))
        self.workers = workers
        self.met: Counter[tuple[Architecture, int]] = Counter()
        self.parts: list[int] = []

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        scored = [call for call in calls if isinstance(call, ScoreShard)]
        for call in scored:
            self.met.update((a, int(s)) for a in call.architectures for s in call.shard.samples)
        if scored:
            self.parts.append(len(scored) // len({id(call.shard) for call in scored}))
        return super().run(calls, keep=keep)


def history(scene: Scene, pool: LocalPool | None, **options: Any) -> list[Any]:
    """Scores before and after a freeze, several generations each."""
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, pool, **options)
    record: list[Any] = [evaluator.score(scene.candidates(count)) for count in (7, 5)]
    evaluator.freeze(trunk[:1], trunk)
    record += [evaluator.score(scene.candidates(count, trunk[:1])) for count in (6, 4)]
    return [*record, evaluator.counters.samples]


@pytest.mark.parametrize("sharing", [True, False])
@settings(max_examples=5)
@given(scene=scenes, workers=st.integers(0, 40))
def test_the_number_of_workers_does_not_change_the_history(
    sharing: bool, scene: Scene, workers: int
) -> None:
    options = {"prefix_sharing": sharing}
    found = history(scene, Claims(scene, workers, **options), **options)
    assert found == history(scene, None, **options)


@settings(max_examples=5)
@given(scene=scenes, workers=st.integers(0, 40))
def test_every_distinct_candidate_is_scored_once_on_every_sample(
    scene: Scene, workers: int
) -> None:
    pool = Claims(scene, workers)
    evaluator = open_evaluator(scene, pool)
    samples = [int(sample) for shard in scene.validation for sample in shard.samples]
    for count in (8, 8, 3):
        pool.met.clear()
        population = scene.candidates(count)
        evaluator.score_again(population)
        assert pool.met == Counter((a, s) for a in set(population) for s in samples)


def test_more_workers_than_shards_get_parts_of_the_trie() -> None:
    scene = small_spos()
    population = [a for a in scene.supernet.space.enumerate() if max(a) < 2]
    for workers, parts in ((0, 1), (1, 1), (40, len(population))):
        pool = Claims(scene, workers)
        evaluator = open_evaluator(scene, pool)
        evaluator.score(population)
        assert 1 <= pool.parts[0] <= parts
        assert (pool.parts[0] > 1) == (workers > 1)
        assert evaluator.counters.samples == rows(scene.validation)
