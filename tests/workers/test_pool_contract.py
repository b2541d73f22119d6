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

from raynas.data import SearchData
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.settings import Arithmetic
from raynas.metering.sampler import this_host
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.supernets import digest
from raynas.task import Classification
from raynas.testing import check_pool
from raynas.workers.calls import Calibrate, ScoreShard
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


def test_calls_run_as_by_one_evaluator_in_this_process(pool: Pool, scene: Scene) -> None:
    data = SearchData("noise", scene.supernet.num_classes, scene.calibration, scene.validation, ())
    check_pool(pool, scene.supernet, data)


def test_workers_read_the_meters_of_their_machine(pool: Pool, scene: Scene) -> None:
    calls = [ScoreShard(s, [(0, 1, 0)], "inherited", Arithmetic()) for s in scene.validation]
    before = pool.busy
    pool.run(calls)
    gone = {name: seconds - before.get(name, 0.0) for name, seconds in pool.busy.items()}
    assert [name for name, seconds in gone.items() if seconds > 0] == ["score"]
    found = [pool.read_meters() for _ in range(2)]
    assert [len(each) for each in found] == [pool.workers] * 2
    for first, last in zip(*found, strict=True):
        assert first.host == last.host == this_host(), "as the driver names it"
        assert first.origin == last.origin
        assert first.age < last.age
        assert [tally.kind for tally in last.tallies] == ["cpu"] * len(last.tallies)
    assert len({each.origin for each in found[0]}) == pool.workers


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
    splits = Splits(scene.calibration, scene.validation, scene.validation)
    evaluator = PopulationEvaluator(pool, splits, protocol, 5)
    trunk = (1, 1, 0)
    record: list[Any] = [evaluator.score(scene.candidates(6)), evaluator.counters.samples]
    for depth in (1, 2):
        evaluator.freeze(trunk[:depth], trunk)
        behind = scene.candidates(4, trunk[:depth])
        record += [evaluator.score_again(behind), evaluator.counters.samples]
    record += [evaluator.score_in_full([trunk]), evaluator.test(trunk)]
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
        task = Classification(scene.supernet.num_classes)
        assert opened.settings == PoolSettings(PROTOCOL, task, digest(scene.supernet))
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
