"""Workers on a GPU: the same results in this process, in actors, and after one was killed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from random_chains import Scene, build_scene

from raynas.evaluation import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.pool import LocalPool, Pool

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

SEED = 2
"""Of a scene with two blocks and several shards."""

SETTINGS = {
    "exact": {},
    "stored at 8 bits": {"bits": 8},
    "fast": {"precision": "bfloat16", "fold_batch_norm": True, "bits": 16},
}


def history(pool: Pool, scene: Scene, settings: Evaluation) -> list[Any]:
    """Scores of generations before and behind a frozen block."""
    evaluator = PopulationEvaluator(pool, Splits(scene.calibration, scene.validation), settings, 0)
    found = [evaluator.score(scene.candidates(count)) for count in (4, 5, 6)]
    best = scene.candidates(1)[0]
    evaluator.freeze(best[:1], best)
    behind = scene.candidates(6, best[:1])
    return [*found, evaluator.score(behind), evaluator.outcomes([best]).losses.tolist()]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_actor_on_a_gpu_gives_what_this_process_gives(name: str):
    import ray

    from raynas.workers.ray_pool import RayPool

    settings = Evaluation(device="cuda", **SETTINGS[name])  # type: ignore[arg-type]
    scene = build_scene(SEED)
    expected = history(LocalPool(scene.supernet, settings), scene, settings)
    pool = RayPool(scene.supernet, settings)
    try:
        pool.wait()
        assert (pool.workers, pool.gpus, pool.device) == (1, 1, "cuda")
        assert history(pool, scene, settings) == expected
        ray.kill(pool.actors[0])
        assert history(pool, scene, settings) == expected
        assert pool.replaced == 1
    finally:
        pool.close()


def test_a_gpu_is_one_device_whoever_uses_it():
    from raynas.workers.ray_pool import RayPool

    settings, scene = Evaluation(device="cuda"), build_scene(SEED)
    local, pool = LocalPool(scene.supernet, settings), RayPool(scene.supernet, settings)
    try:
        pool.wait()
        (here,), (there,) = local.read_meters(), pool.read_meters()
    finally:
        pool.close()
        local.close()
    (mine,), (other,) = ([t for t in each.tallies if t.kind == "gpu"] for each in (here, there))
    assert (here.host, mine.device) == (there.host, other.device)
    assert mine.device.startswith(("GPU-", "MIG-"))
    assert mine.joules >= 0
    assert mine.counter is not None or mine.reason


def test_scores_on_a_gpu_are_near_those_on_a_cpu():
    scene = build_scene(SEED)
    found = {}
    for device in ("cuda", "cpu"):
        settings = Evaluation(device=device)  # type: ignore[arg-type]
        found[device] = history(LocalPool(scene.supernet, settings), scene, settings)[0]
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
