"""Actors get the shards that they had in the run before, whatever the order of the calls."""

from __future__ import annotations

import os
from typing import Any

import pytest
from random_chains import build_scene

from raynas.evaluation import Evaluation

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class Witness:
    """Says which process it is, and what it was called with."""

    def start(self, supernet: Any, settings: Evaluation) -> str:
        return "cpu"

    def call(self, method: str, *arguments: Any) -> tuple[Any, ...]:
        return (os.getpid(), *arguments)


def test_shards_stay_with_the_actor_that_had_them():
    import ray

    from raynas.workers.ray_pool import RayPool

    pool = RayPool(build_scene(0).supernet, Evaluation(device="cpu"), 2, actor=ray.remote(Witness))
    try:
        pool.wait()
        shards = [pool.put(name) for name in ("a", "b")]
        first = pool.run("score", [(shard, "first") for shard in shards])
        assert [result[1:] for result in first] == [("a", "first"), ("b", "first")]
        assert len({pid for pid, *_ in first}) == 2
        for order in ((1, 0), (0, 1), (1, 0)):
            again = pool.run("score", [(shards[i],) for i in order])
            assert [pid for pid, *_ in again] == [first[i][0] for i in order]
    finally:
        pool.close()
