"""Actors that die: their calls run elsewhere, and results stay what they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrow_supernets import ROOM, narrow_scene
from narrow_supernets import history as narrow_history
from random_chains import Scene
from troubled_supernets import Crashes, CrashesOnLoad, Waits, place, troubled, wait_for

from raynas.evaluation import Evaluation
from raynas.evaluation.device.numerics import Arithmetic
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import gather
from raynas.workers.calls import Advance, Calibrate
from raynas.workers.pool import LocalPool, Pool, WorkerCrashError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PROTOCOL = Evaluation(device="cpu")
CRASHES, WAITS = (0, 1, 1), (0, 2, 1)
"""Architectures through the troubled blocks."""


def history(pool: Pool, scene: Scene, trouble: tuple[int, ...]) -> list[Any]:
    """Scores before and after a freeze, through a troubled block."""
    evaluator = PopulationEvaluator(pool, Splits(scene.calibration, scene.validation), PROTOCOL, 0)
    before = evaluator.score([(1, *trouble[1:]), (0, 0, 1)])
    evaluator.freeze(trouble[:1], trouble)
    return [before, evaluator.score([(0, 0, 0), trouble])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return troubled(folder, Crashes, Waits)


@pytest.fixture(scope="module")
def pool(ray_cluster: None, scene: Scene) -> Iterator[Any]:
    """One actor, which every test here leaves usable."""
    from raynas.workers.ray_pool import RayPool

    opened = RayPool(scene.supernet, PROTOCOL, 1)
    yield opened
    opened.close()


def test_a_killed_process_is_replaced_and_the_scores_stay(scene: Scene, folder: Path):
    from raynas.workers.ray_pool import RayPool

    expected = history(LocalPool(scene.supernet, PROTOCOL), scene, CRASHES)
    place(folder / "Crashes", 1)
    two = RayPool(scene.supernet, PROTOCOL, 2)
    try:
        assert history(two, scene, CRASHES) == expected
        assert (two.replaced, two.workers) == (1, 2)
    finally:
        two.close()


def answers(actor: Any) -> bool:
    """Whether an actor that was killed has not died yet."""
    import ray

    try:
        ray.get(actor.read_meter.remote())
    except ray.exceptions.RayActorError:
        return False
    return True


def test_an_actor_killed_from_outside_is_replaced(pool: Any, scene: Scene, folder: Path):
    import ray

    expected = history(LocalPool(scene.supernet, PROTOCOL), scene, WAITS)
    replaced = pool.replaced
    place(folder / "Waits", 1)

    def kill() -> None:
        wait_for(folder / "Waits" / "waiting")
        ray.kill(pool.actors[0])
        (folder / "Waits" / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    assert history(pool, scene, WAITS) == expected
    killer.join()
    assert pool.replaced == replaced + 1

    ray.kill(pool.actors[0])
    while answers(pool.actors[0]):
        time.sleep(0.01)
    assert pool.read_meters() == [], "one that has died tells nothing"
    assert history(pool, scene, WAITS) == expected
    assert pool.replaced == replaced + 2
    assert len(pool.read_meters()) == 1


def test_the_calls_of_a_dead_actor_run_again_in_order(pool: Any, scene: Scene, folder: Path):
    sizes = [5, 4, 3, 1]
    first = scene.validation[0]
    shards = [gather([first], [np.arange(size)], np.ones(size)) for size in sizes]
    calls = [Advance(shard, CRASHES, "inherited", Arithmetic()) for shard in shards]
    wanted = LocalPool(scene.supernet, PROTOCOL).run(calls)
    log = folder / "Crashes" / "log"
    log.unlink()
    place(folder / "Crashes", 1)
    told: list[int] = []
    found = pool.run(calls, finished=told.append)
    assert [int(line) for line in log.read_text().split()] == [sizes[0], *sizes]
    assert told == sorted(told), "what has to run again was never done"
    assert (told[0] < len(calls), told[-1]) == (True, len(calls))
    for (one, _), (other, _) in zip(found, wanted, strict=True):
        assert one.features.tobytes() == other.features.tobytes()


def test_a_call_that_kills_two_actors_is_given_up_by_name(pool: Any, scene: Scene, folder: Path):
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene, CRASHES)
    architectures = [(0, 0, 0), (0, 0, 1), CRASHES, (1, 1, 1)]
    replaced = pool.replaced
    place(folder / "Crashes", 2)
    with pytest.raises(WorkerCrashError, match="call 2 of 'calibrate' killed 2 workers"):
        pool.run([Calibrate(scene.calibration[0], [a], Arithmetic()) for a in architectures])
    assert not list((folder / "Crashes").glob("token-*"))
    assert history(pool, scene, CRASHES) == expected
    assert pool.replaced == replaced + 2


def test_a_call_before_the_one_that_kills_is_not_blamed(
    pool: Any, scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The result of a call may be late, or be lost with the actor that dies in the next one."""
    from raynas.workers import ray_pool

    def newest_first(refs: list[Any], seconds: float) -> list[Any]:
        while len(done := await_any(refs, seconds)) < len(refs):
            pass
        return done[::-1]

    await_any = ray_pool.await_any
    monkeypatch.setattr(ray_pool, "await_any", newest_first)
    calls = [
        Calibrate(scene.calibration[0], [a], Arithmetic()) for a in [(0, 0, 0), CRASHES, (1, 1, 1)]
    ]
    place(folder / "Crashes", 2)
    with pytest.raises(WorkerCrashError, match="call 1 of 'calibrate' killed 2 workers"):
        pool.run(calls)
    assert not list((folder / "Crashes").glob("token-*"))
    place(folder / "Crashes", 1)
    assert len(pool.run(calls)) == len(calls)


def test_a_pool_whose_run_was_interrupted_is_usable(
    pool: Any, scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    from raynas.workers import ray_pool

    def interrupted(refs: list[Any], seconds: float) -> list[Any]:
        raise KeyboardInterrupt

    pool.wait()
    with monkeypatch.context() as patch:
        patch.setattr(ray_pool, "await_any", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                history(pool, scene, CRASHES)
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene, CRASHES)
    assert history(pool, scene, CRASHES) == expected


def test_actors_that_die_while_they_start_are_replaced_and_then_given_up(tmp_path: Path):
    from raynas.workers.ray_pool import RayPool

    scene = troubled(tmp_path, CrashesOnLoad)
    tokens = tmp_path / "CrashesOnLoad"
    expected = history(LocalPool(scene.supernet, PROTOCOL), scene, (0, 1, 1))
    place(tokens, 1)
    fragile = RayPool(scene.supernet, PROTOCOL, 1)
    try:
        assert history(fragile, scene, (0, 1, 1)) == expected
        assert fragile.replaced == 1
        place(tokens, 50)
        hopeless = RayPool(scene.supernet, PROTOCOL, 1)
        with pytest.raises(WorkerCrashError, match="2 workers in a row died while they started"):
            hopeless.run(
                [Calibrate(shard, [(0, 1, 1)], Arithmetic()) for shard in scene.calibration]
            )
        hopeless.close()
    finally:
        fragile.close()


def test_an_actor_that_runs_out_of_memory_goes_on_and_says_so(tmp_path: Path):
    scene = narrow_scene(tmp_path, ROOM)
    assert narrow_history(scene, workers=1) == narrow_history(scene, workers=0)
