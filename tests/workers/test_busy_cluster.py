"""A cluster that others use: soon said, worked on with what there is, and counted as it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from random_chains import Scene, build_scene

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.device.numerics import Arithmetic
from raynas.workers.calls import ScoreShard
from raynas.workers.patience import Patience
from raynas.workers.pool import LocalPool, WorkerCrashError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PROTOCOL = Evaluation(device="cpu")
CORES = 4
"""Of the cluster of these tests."""


class Holder:
    """Somebody else, who holds cores."""

    def ping(self) -> None:
        """Answer, and so be there."""


@contextmanager
def cores_taken(count: int) -> Iterator[Callable[[], None]]:
    """Cores of the cluster in use; calling what is given frees them."""
    import ray

    holder = ray.remote(Holder).options(num_cpus=count).remote()
    ray.get(holder.ping.remote())
    try:
        yield lambda: ray.kill(holder)
    finally:
        ray.kill(holder)
        while ray.available_resources().get("CPU", 0.0) < CORES:
            time.sleep(0.05)


def open_with(scene: Scene, workers: int, patience: Patience) -> Any:
    from raynas.workers.ray_pool import ActorOptions, RayPool

    return RayPool(scene.supernet, PROTOCOL, workers, options=ActorOptions(patience=patience))


def calls_of(scene: Scene) -> list[ScoreShard]:
    candidates = scene.candidates(3)
    return [
        ScoreShard(shard, candidates, "inherited", Arithmetic()) for shard in scene.validation
    ] * 3


def assert_right(pool: Any, scene: Scene) -> None:
    found, wanted = (
        each.run(calls_of(scene)) for each in (pool, LocalPool(scene.supernet, PROTOCOL))
    )
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.losses, other.losses)


def test_those_that_have_room_work_and_the_others_join(caplog: pytest.LogCaptureFixture):
    scene = build_scene(0)
    with cores_taken(CORES - 1) as free:
        pools: list[Any] = []
        # Time passes only when a worker is ready.
        clock = (100.0 * k for k in range(10**9))
        patience = Patience(
            clock=lambda: next(clock) if pools and pools[0].machine else 0.0,
        )
        pool = open_with(scene, 2, patience)
        pools.append(pool)
        try:
            with caplog.at_level(logging.WARNING, "raynas"):
                pool.wait()
            assert pool.workers == 1
            assert len(pool.actors) == 2
            [said] = [record.getMessage() for record in caplog.records]
            assert said == (
                "1 of 2 workers have not started: each needs 1 CPU, and the cluster has 0 CPU "
                "free; going on with 1, others join when there is room"
            )
            assert_right(pool, scene)
            assert pool.workers == 1
            free()
            while pool.workers < 2:
                assert_right(pool, scene)
        finally:
            pool.close()


def test_no_room_for_any_is_an_error_that_names_what_is_missing():
    with cores_taken(CORES):
        clock = iter(range(0, 10**9, 25))
        pool = open_with(build_scene(0), 2, Patience(clock=lambda: float(next(clock))))
        try:
            with pytest.raises(InputError, match=r"each needs 1 CPU, got 0 CPU free") as caught:
                pool.wait()
            assert caught.value.argument == "workers"
            assert pool.workers == 2
            with pytest.raises(WorkerCrashError, match="each needs 1 CPU"):
                pool.run(calls_of(build_scene(0)))
        finally:
            pool.close()


def test_workers_that_only_load_are_waited_for_without_a_word(
    caplog: pytest.LogCaptureFixture,
):
    from ray.util.placement_group import placement_group_table

    scene = build_scene(0)
    clock = iter(range(0, 10**9, 100))
    patience = Patience(loading=float("inf"), clock=lambda: float(next(clock)))
    pool = open_with(scene, 2, patience)
    try:
        # A moment for the reservations, which need no process to start.
        unsettled = ("PENDING", "PREPARED")
        while any(group["state"] in unsettled for group in placement_group_table().values()):
            time.sleep(0.05)
        with caplog.at_level(logging.WARNING, "raynas"):
            pool.wait()
        assert pool.workers == 2
        assert caplog.records == []
        assert_right(pool, scene)
    finally:
        pool.close()


def test_workers_that_never_started_are_withdrawn():
    import ray

    with cores_taken(CORES) as free:
        pool = open_with(build_scene(0), 2, Patience(clock=lambda: 0.0))
        actors = pool.actors
        pool.close()
        free()
        for actor in actors:
            with pytest.raises(ray.exceptions.RayActorError):
                ray.get(actor.__ray_ready__.remote())
