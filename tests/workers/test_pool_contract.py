"""What every pool must do, and that results do not depend on the pool."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_chains import Scene
from troubled_supernets import Raises, Trouble, place, troubled

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.open_pool import check_workers, open_pool
from raynas.workers.pool import LocalPool, Pool

PROTOCOL = Evaluation(device="cpu", bits=8, sample_rate=0.5, sampling="weighted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return troubled(folder, Raises)


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def pool(request, scene: Scene) -> Iterator[Pool]:
    if request.param == "local":
        yield LocalPool(scene.supernet, PROTOCOL)
        return
    from raynas.workers.ray_pool import RayPool

    request.getfixturevalue("ray_cluster")
    opened = RayPool(scene.supernet, PROTOCOL, 2)
    yield opened
    opened.close()


def expected(scene: Scene, method: str, calls: list[tuple[Any, ...]]) -> list[Any]:
    evaluator = Evaluator(pickle.loads(pickle.dumps(scene.supernet)), PROTOCOL)
    return [getattr(evaluator, method)(*call) for call in calls]


def score_calls(scene: Scene) -> list[tuple[Any, ...]]:
    """Calls of very different lengths, longest first."""
    architectures = list(scene.supernet.space.enumerate())
    return [
        (shard, architectures[:count], "inherited")
        for count in (8, 1, 5, 2)
        for shard in scene.validation
    ]


def assert_same_scores(found: list[Any], wanted: list[Any]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.correct, other.correct)
        assert np.array_equal(one.losses, other.losses)
        assert np.array_equal(one.finite, other.finite)
        assert one.block_forwards == other.block_forwards


def test_results_come_in_the_order_of_the_calls(pool: Pool, scene: Scene):
    calls = score_calls(scene)
    assert_same_scores(pool.run("score", calls), expected(scene, "score", calls))


def test_what_was_put_stands_for_itself(pool: Pool, scene: Scene):
    calls = score_calls(scene)
    shared = {id(shard): pool.put(shard) for shard in scene.validation}
    mode = pool.put("inherited")
    placed = [(shared[id(shard)], architectures, mode) for shard, architectures, _ in calls]
    assert_same_scores(pool.run("score", placed), expected(scene, "score", calls))


def test_what_is_kept_stands_for_itself_and_need_not_travel(pool: Pool, scene: Scene):
    prefix = (1, 0)
    advanced = pool.run(
        "advance", [(shard, prefix, "inherited") for shard in scene.validation], keep=True
    )
    wanted = expected(
        scene, "advance", [(shard, prefix, "inherited") for shard in scene.validation]
    )
    assert [rest.block_forwards for _, rest in advanced] == [2 * s.rows for s in scene.validation]
    behind = [(1, 0, 0), (1, 0, 1)]
    found = pool.run("score", [(shard, behind, "inherited") for shard, _ in advanced])
    calls = [(shard, behind, "inherited") for shard, _ in wanted]
    assert_same_scores(found, expected(scene, "score", calls))


def test_the_machine_is_that_of_an_evaluator_there(pool: Pool, scene: Scene):
    pool.wait()
    assert pool.machine == LocalPool(scene.supernet, PROTOCOL).machine
    assert pool.machine["device"] == pool.device == "cpu"
    assert all(pool.machine[name] for name in ("processor", "torch", "numpy"))


def test_no_calls_have_no_results(pool: Pool):
    assert pool.run("score", []) == []
    assert pool.run("advance", [], keep=True) == []


def test_input_errors_arrive_as_themselves_and_leave_the_pool_usable(pool: Pool, scene: Scene):
    calls = score_calls(scene)
    broken = [*calls[:3], (scene.validation[0], [(0, 7, 0)], "inherited"), *calls[3:]]
    with pytest.raises(InputError) as wanted:
        scene.supernet.space.validate((0, 7, 0))
    with pytest.raises(InputError) as caught:
        pool.run("score", broken)
    assert type(caught.value) is InputError
    assert str(caught.value) == str(wanted.value)
    assert caught.value.argument == "architecture"
    assert_same_scores(pool.run("score", calls), expected(scene, "score", calls))


def test_a_users_own_exception_arrives_as_itself(pool: Pool, scene: Scene, folder: Path):
    place(folder / "Raises", 1)
    with pytest.raises(Trouble) as caught:
        pool.run("calibrate", [(shard, [(0, 1, 0)]) for shard in scene.calibration])
    assert type(caught.value) is Trouble
    assert caught.value.args == ("a block in trouble", 3)
    statistics = pool.run("calibrate", [(shard, [(0, 1, 0)]) for shard in scene.calibration])
    wanted = expected(scene, "calibrate", [(shard, [(0, 1, 0)]) for shard in scene.calibration])
    for found, other in zip(statistics, wanted, strict=True):
        assert found.statistics.keys() == other.statistics.keys()
        for path, vector in found.statistics.items():
            assert np.array_equal(vector, other.statistics[path])


def history(pool: Pool, scene: Scene, protocol: Evaluation = PROTOCOL) -> str:
    """What a search would record: scores before and after two freezes, in full and held out."""
    evaluator = PopulationEvaluator(pool, scene.calibration, scene.validation, protocol, 5)
    trunk = (1, 1, 0)
    record: list[Any] = [evaluator.score(scene.candidates(6)), evaluator.samples]
    for depth in (1, 2):
        evaluator.freeze(trunk[:depth], trunk)
        record += [
            evaluator.score(scene.candidates(4, trunk[:depth]), reuse=False),
            evaluator.samples,
        ]
    record += [
        evaluator.score_in_full([trunk], reuse=False),
        evaluator.test(trunk, scene.validation),
    ]
    record += [sorted((p, v.tobytes()) for p, v in evaluator.statistics(trunk).items())]
    return repr(record)


def test_the_history_does_not_depend_on_the_pool(pool: Pool, scene: Scene):
    assert history(pool, scene) == history(LocalPool(scene.supernet, PROTOCOL), scene)


@pytest.mark.ray
def test_one_actor_gives_the_same_history(ray_cluster: None, scene: Scene):
    protocol = replace(PROTOCOL, bits=4)
    with open_pool(scene.supernet, protocol, 1) as single:
        assert (single.workers, single.gpus) == (1, 0)
        found = history(single, scene, protocol)
    assert found == history(LocalPool(scene.supernet, protocol), scene, protocol)


def test_workers_below_none_are_refused(scene: Scene):
    with pytest.raises(InputError) as caught, open_pool(scene.supernet, PROTOCOL, -1):
        pass
    assert caught.value.argument == "workers"
    with pytest.raises(InputError):
        check_workers(PROTOCOL, -1)


def test_a_pool_in_this_process_needs_no_ray(scene: Scene):
    check_workers(PROTOCOL, 0)
    with open_pool(scene.supernet, PROTOCOL, 0) as opened:
        assert isinstance(opened, LocalPool)
        assert (opened.workers, opened.gpus) == (0, 0)
