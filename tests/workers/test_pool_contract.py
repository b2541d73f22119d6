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
from raynas.evaluation.device.numerics import Arithmetic
from raynas.evaluation.evaluator import Evaluator
from raynas.population.evaluator import PopulationEvaluator
from raynas.supernets import digest
from raynas.task import Classification
from raynas.workers.calls import Advance, Calibrate, GatherShards, ScoreShard
from raynas.workers.open_pool import check_workers, open_pool
from raynas.workers.pool import LocalPool, Pool, PoolSettings

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


def expected(scene: Scene, calls: list[Any]) -> list[Any]:
    evaluator = Evaluator(pickle.loads(pickle.dumps(scene.supernet)), PROTOCOL)
    return [call.run(evaluator) for call in calls]


def score_calls(scene: Scene) -> list[ScoreShard]:
    """Calls of very different lengths, longest first."""
    architectures = list(scene.supernet.space.enumerate())
    return [
        ScoreShard(shard, architectures[:count], "inherited", Arithmetic())
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
    assert_same_scores(pool.run(calls), expected(scene, calls))


def test_what_was_put_stands_for_itself(pool: Pool, scene: Scene):
    calls = score_calls(scene)
    shared = {id(shard): pool.put(shard) for shard in scene.validation}
    mode = pool.put("inherited")
    placed = [replace(call, shard=shared[id(call.shard)], statistics=mode) for call in calls]
    assert_same_scores(pool.run(placed), expected(scene, calls))


def test_shards_that_were_put_are_gathered_one_by_one(pool: Pool, scene: Scene):
    first, *more = scene.validation
    rows = [np.arange(0, shard.rows, 2) for shard in scene.validation]
    weights = np.linspace(1.0, 2.0, sum(map(len, rows)))
    call = GatherShards(first, rows, weights, tuple(more))
    placed = GatherShards(pool.put(first), rows, weights, tuple(map(pool.put, more)))
    [(found, count)] = pool.run([placed])
    [(wanted, _)] = expected(scene, [call])
    assert count == len(weights)
    assert found.batch.equals(wanted.batch, check_metadata=True)


def test_what_is_kept_stands_for_itself_and_need_not_travel(pool: Pool, scene: Scene):
    prefix = (1, 0)
    advances = [Advance(shard, prefix, "inherited", Arithmetic()) for shard in scene.validation]
    advanced = pool.run(advances, keep=True)
    wanted = expected(scene, advances)
    assert [rest.block_forwards for _, rest in advanced] == [2 * s.rows for s in scene.validation]
    behind = [(1, 0, 0), (1, 0, 1)]
    found = pool.run(
        [ScoreShard(shard, behind, "inherited", Arithmetic()) for shard, _ in advanced]
    )
    calls = [ScoreShard(shard, behind, "inherited", Arithmetic()) for shard, _ in wanted]
    assert_same_scores(found, expected(scene, calls))


def test_the_machine_is_that_of_an_evaluator_there(pool: Pool, scene: Scene):
    pool.wait()
    assert pool.machine == LocalPool(scene.supernet, PROTOCOL).machine
    assert pool.machine["device"] == pool.device == "cpu"
    assert all(pool.machine[name] for name in ("processor", "torch", "numpy"))


def test_no_calls_have_no_results(pool: Pool):
    assert pool.run([]) == []
    assert pool.run([], keep=True) == []


def test_input_errors_arrive_as_themselves_and_leave_the_pool_usable(pool: Pool, scene: Scene):
    calls = score_calls(scene)
    broken = [*calls[:3], replace(calls[0], architectures=[(0, 7, 0)]), *calls[3:]]
    with pytest.raises(InputError) as wanted:
        scene.supernet.space.validate((0, 7, 0))
    with pytest.raises(InputError) as caught:
        pool.run(broken)
    assert type(caught.value) is InputError
    assert str(caught.value) == str(wanted.value)
    assert caught.value.argument == "architecture"
    assert_same_scores(pool.run(calls), expected(scene, calls))


def test_a_users_own_exception_arrives_as_itself(pool: Pool, scene: Scene, folder: Path):
    place(folder / "Raises", 1)
    calls = [Calibrate(shard, [(0, 1, 0)], Arithmetic()) for shard in scene.calibration]
    with pytest.raises(Trouble) as caught:
        pool.run(calls)
    assert type(caught.value) is Trouble
    assert caught.value.args == ("a block in trouble", 3)
    for found, other in zip(pool.run(calls), expected(scene, calls), strict=True):
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


@pytest.mark.parametrize("workers", [-1, 1.0, 2.5, "2", True, [2]])
def test_what_is_no_number_of_workers_is_refused(scene: Scene, workers: Any):
    with pytest.raises(InputError) as caught, open_pool(scene.supernet, PROTOCOL, workers):
        pass
    assert caught.value.argument == "workers"
    with pytest.raises(InputError):
        check_workers(PROTOCOL, workers)


@pytest.mark.parametrize("kind", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_pool_says_what_it_was_opened_with(
    kind: str, scene: Scene, request: pytest.FixtureRequest
):
    if kind == "ray":
        request.getfixturevalue("ray_cluster")
    with open_pool(scene.supernet, PROTOCOL, int(kind == "ray")) as opened:
        assert opened.settings == PoolSettings(PROTOCOL, None, digest(scene.supernet))
        found = [history(opened, scene) for _ in range(2)]
    assert found == [history(LocalPool(scene.supernet, PROTOCOL), scene)] * 2


def test_a_pool_that_was_opened_with_other_settings_is_refused_by_name():
    mine = PoolSettings(PROTOCOL, Classification(10), "abc")
    mine.require_same(replace(mine))
    for name, other in (
        ("supernet", "abd"),
        ("evaluation", replace(PROTOCOL, bits=4)),
        ("task", Classification(9)),
        ("task", None),
    ):
        with pytest.raises(InputError, match=f"opened with the same {name}") as caught:
            mine.require_same(replace(mine, **{name: other}))
        assert caught.value.argument == "pool"


def test_a_pool_in_this_process_needs_no_ray(scene: Scene):
    check_workers(PROTOCOL, 0)
    with open_pool(scene.supernet, PROTOCOL, 0) as opened:
        assert isinstance(opened, LocalPool)
        assert (opened.workers, opened.gpus) == (0, 0)
