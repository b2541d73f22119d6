"""Shards that are not needed any more go, and shards that went away come back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from random_chains import Scene
from small_population import open_evaluator, small_spos

from raynas.evaluation import Evaluation
from raynas.evaluation.settings import Arithmetic
from raynas.population.frozen_shards import FrozenShards, Split
from raynas.population.recovery import RECOVERIES, RecoverableShards
from raynas.shards.shard import Shard
from raynas.workers.calls import Call
from raynas.workers.pool import LocalPool, LostObjectError

NO_SAMPLES = Split((), (), np.empty(0))


class WatchedPool(LocalPool):
    """Notes the shards that it was told to keep, without keeping them."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.supernet, Evaluation(device="cpu"))
        self.kept: list[weakref.ref[Shard]] = []

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        results = super().run(calls, keep=keep)
        if keep:
            self.kept += [weakref.ref(shard) for shard, _ in results]
        return results


def test_shards_of_an_earlier_prefix_are_not_kept():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    pool = WatchedPool(scene)
    evaluator = open_evaluator(scene, pool)
    for depth in (1, 2, 4):
        evaluator.freeze(trunk[:depth], trunk)
        evaluator.score(scene.candidates(2, trunk[:depth]))
        gc.collect()
        alive = [shard.prefix for ref in pool.kept if (shard := ref()) is not None]
        assert alive == [trunk[:depth]] * (len(scene.calibration) + len(scene.validation))


@dataclass(frozen=True)
class Handle:
    """Stands for a value in a store."""

    number: int


class ForgetfulPool:
    """A pool with a store: what workers kept can go away, as with a lost node."""

    workers, gpus, device = 0, 0, "cpu"

    def __init__(self, scene: Scene, **options: Any) -> None:
        self.local = LocalPool(scene.supernet, Evaluation(device="cpu", **options))
        self.store: list[Any] = []
        self.kept: list[Handle] = []
        self.losses: list[int] = []
        self.runs = 0

    @property
    def machine(self) -> dict[str, str]:
        return self.local.machine

    @property
    def busy(self) -> dict[str, float]:
        return self.local.busy

    def wait(self) -> None:
        pass

    def put(self, value: Any) -> Handle:
        self.store.append(value)
        return Handle(len(self.store) - 1)

    def fetch(self, argument: Any) -> Any:
        if not isinstance(argument, Handle):
            return argument
        value = self.store[argument.number]
        if value is None:
            raise LostObjectError("gone")
        return value

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        self.runs += 1
        if self.runs in self.losses:
            for handle in self.kept:
                self.store[handle.number] = None
        found = [call.rebuild(*map(self.fetch, call.arguments())) for call in calls]
        results = self.local.run(found)
        if not keep:
            return results
        kept = [(self.put(shard), rest) for shard, rest in results]
        self.kept += [handle for handle, _ in kept]
        return kept

    def close(self) -> None:
        self.store.clear()


@pytest.mark.parametrize("losses", [[], *([run] for run in range(4, 11)), [5, 6, 9], [7, 10, 13]])
def test_shards_that_went_away_are_made_again(losses):
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    options = {"sample_rate": 0.5, "sampling": "weighted", "bits": 16}

    def history(pool: Any) -> list[Any]:
        evaluator = open_evaluator(scene, pool, **options)
        evaluator.freeze(trunk[:1], trunk)
        first = evaluator.score(scene.candidates(3, trunk[:1]))
        evaluator.freeze(trunk[:3], trunk)
        second = evaluator.score(scene.candidates(3, trunk[:3]))
        return [first, second, evaluator.prefix, evaluator.counters.samples]

    pool = ForgetfulPool(scene, **options)
    pool.losses = losses
    assert history(pool) == history(None)
    assert (pool.runs > 11) == bool(losses)


@pytest.mark.parametrize("losses", [[], *([run] for run in range(3, 11)), [5, 6, 9]])
@pytest.mark.parametrize("remembered", [True, False])
def test_voters_select_the_same_samples_after_a_loss(losses, remembered):
    scene = small_spos()
    trunk, voters = scene.candidates(1)[0], scene.candidates(4)
    options = {"sample_rate": 0.4, "sampling": "disagreement"}

    def history(pool: Any, *, remembered: bool = False) -> list[Any]:
        evaluator = open_evaluator(scene, pool, **options)
        if remembered:
            evaluator.score(voters)
        evaluator.freeze(trunk[:1], trunk, voters)
        first = evaluator.score(scene.candidates(3, trunk[:1]))
        evaluator.freeze(trunk[:3], trunk, scene.candidates(3, trunk[:1]))
        return [first, evaluator.score(scene.candidates(3, trunk[:3])), evaluator.counters.samples]

    pool = ForgetfulPool(scene, **options)
    pool.losses = losses
    assert history(pool, remembered=remembered) == history(None)
    assert pool.runs >= 10


def test_shards_that_go_away_again_and_again_are_given_up():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    pool = ForgetfulPool(scene)
    evaluator = open_evaluator(scene, pool)
    evaluator.freeze(trunk[:1], trunk)
    pool.losses = list(range(1000))
    with pytest.raises(LostObjectError):
        evaluator.score([trunk])
    assert pool.runs < 10 * (1 + RECOVERIES)
    pool.losses = []
    assert evaluator.score([trunk]) == open_evaluator(scene).score([trunk])


def test_a_restore_that_fails_leaves_nothing_half_done():
    start = FrozenShards((), NO_SAMPLES, NO_SAMPLES, Arithmetic())
    recoverable = RecoverableShards(start)
    failures: list[Exception] = []

    def step(prefix: tuple[int, ...]) -> Any:
        def advanced(shards: FrozenShards) -> FrozenShards:
            if len(prefix) == 2 and failures:
                raise failures.pop()
            return replace(shards, prefix=prefix)

        return advanced

    recoverable.apply(step((1,)))
    recoverable.apply(step((1, 0)))
    losses: list[Exception] = [LostObjectError()]

    def action(shards: FrozenShards) -> tuple[int, ...]:
        if losses:
            raise losses.pop()
        return shards.prefix

    failures.append(RuntimeError("no memory"))
    with pytest.raises(RuntimeError):
        recoverable.with_shards(action)
    assert recoverable.with_shards(action) == recoverable.current.prefix == (1, 0)
