"""Actors that die: their calls run elsewhere, and results stay what they were."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from random_chains import Scene
from troubled_supernets import Crashes, CrashesOnLoad, Waits, place, troubled, wait_for

from raynas.distributed.pool import LocalPool, Pool, WorkerCrashError
from raynas.distributed.population import PopulationEvaluator
from raynas.evaluation import Evaluation

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PROTOCOL = Evaluation(device="cpu")
TRUNK = (0, 1, 1)


def history(pool: Pool, scene: Scene) -> list[Any]:
    """Scores before and after a freeze."""
    evaluator = PopulationEvaluator(pool, scene.calibration, scene.validation, PROTOCOL, 0)
    before = evaluator.score([(1, 1, 0), (1, 1, 1), (0, 0, 1)])
    evaluator.freeze(TRUNK[:1], TRUNK)
    return [before, evaluator.score([(0, 1, 0), (0, 1, 1)])]


@pytest.fixture
def ray_pool(request):
    """Opens pools, and closes them after the test."""
    from raynas.distributed.ray_pool import RayPool

    opened: list[RayPool] = []

    def open_pool(scene: Scene, workers: int) -> RayPool:
        opened.append(RayPool(scene.supernet, PROTOCOL, workers))
        return opened[-1]

    yield open_pool
    for pool in opened:
        pool.close()


def test_a_killed_process_is_replaced_and_the_scores_stay(ray_pool, tmp_path: Path):
    scene = troubled(Crashes, tmp_path)
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene)
    place(tmp_path, 1)
    pool = ray_pool(scene, 2)
    assert history(pool, scene) == expected
    assert pool.replaced == 1
    assert pool.workers == 2


def test_an_actor_killed_from_outside_is_replaced(ray_pool, tmp_path: Path):
    import ray

    scene = troubled(Waits, tmp_path)
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene)
    pool = ray_pool(scene, 1)
    actor = pool._pool[0].actor
    place(tmp_path, 1)

    def kill() -> None:
        wait_for(tmp_path / "waiting")
        ray.kill(actor)
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    assert history(pool, scene) == expected
    killer.join()
    assert pool.replaced == 1

    ray.kill(pool._pool[0].actor)
    assert history(pool, scene) == expected
    assert pool.replaced == 2


def test_the_calls_of_a_dead_actor_run_again_in_order(ray_pool, tmp_path: Path):
    scene = troubled(Crashes, tmp_path)
    sizes = [4, 3, 2, 1]
    shard, evaluator = scene.validation[0], LocalPool(scene.supernet, PROTOCOL)
    wanted = evaluator.run("advance", [(shard, TRUNK, "inherited", range(n)) for n in sizes])
    (tmp_path / "log").unlink()
    place(tmp_path, 1)
    pool = ray_pool(scene, 1)
    found = pool.run("advance", [(shard, TRUNK, "inherited", range(n)) for n in sizes])
    log = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert log == [sizes[0], *sizes]
    for (one, _), (other, _) in zip(found, wanted, strict=True):
        assert one.features.tobytes() == other.features.tobytes()


def test_a_call_that_kills_two_actors_is_given_up_by_name(ray_pool, tmp_path: Path):
    scene = troubled(Crashes, tmp_path)
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene)
    shard = scene.calibration[0]
    calls = [(shard, [(0, 0, 0)]), (shard, [(0, 0, 1)]), (shard, [(0, 1, 0)]), (shard, [TRUNK])]
    place(tmp_path, 2)
    pool = ray_pool(scene, 1)
    with pytest.raises(WorkerCrashError, match=r"call 2 of 'calibrate' killed 2 workers"):
        pool.run("calibrate", calls)
    assert not list(tmp_path.glob("token-*"))
    assert history(pool, scene) == expected
    assert pool.replaced == 2


def test_an_actor_that_dies_while_it_starts_is_replaced(ray_pool, tmp_path: Path):
    scene = troubled(CrashesOnLoad, tmp_path)
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene)
    place(tmp_path, 1)
    pool = ray_pool(scene, 1)
    assert history(pool, scene) == expected
    assert pool.replaced == 1


def test_actors_that_never_start_are_given_up(ray_pool, tmp_path: Path):
    scene = troubled(CrashesOnLoad, tmp_path)
    place(tmp_path, 50)
    pool = ray_pool(scene, 1)
    started = time.monotonic()
    with pytest.raises(WorkerCrashError, match="died while they started"):
        pool.run("calibrate", [(shard, [TRUNK]) for shard in scene.calibration])
    assert time.monotonic() - started < 60.0
