"""A node goes away with the shards that its actor kept: they are made again elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEARCH = """
import logging
import sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from troubled_supernets import Harmless, troubled
from raynas.workers.pool import LocalPool
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.ray_pool import RayPool
from raynas.evaluation import Evaluation

PROTOCOL = Evaluation(device="cpu", sample_rate=0.7, sampling="weighted")
TRUNK = (1, 1, 0)
scene = troubled(Path(sys.argv[1]), Harmless, size=80)

def history(pool, interrupt=lambda evaluator: None):
    evaluator = PopulationEvaluator(
        pool, Splits(scene.calibration, scene.validation), PROTOCOL, 0
    )
    evaluator.freeze(TRUNK[:1], TRUNK)
    record = [evaluator.score([TRUNK, (1, 0, 1)])]
    interrupt(evaluator)
    record.append(evaluator.score_again([TRUNK, (1, 0, 1), (1, 0, 0)]))
    evaluator.freeze(TRUNK[:2], TRUNK)
    return record + [
        evaluator.score_again([TRUNK]), evaluator.score_in_full([TRUNK])
    ]

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
far = cluster.add_node(num_cpus=1)
ray.init(cluster.address, logging_level=logging.ERROR)
pool = RayPool(scene.supernet, PROTOCOL, None)
pool.wait()
methods = []
run = pool.run

def watch(calls, **options):
    methods.append(calls[0].name)
    return run(calls, **options)

pool.run = watch
found = history(pool, lambda evaluator: cluster.remove_node(far))
wanted = history(LocalPool(scene.supernet, PROTOCOL))
print(pool.workers, pool.replaced, methods.count("advance"), found == wanted)
pool.close()
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
def test_shards_of_a_lost_node_are_made_again_with_the_same_scores(helper_environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path)],
        env=helper_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    workers, replaced, advances, same = done.stdout.split()[-4:]
    assert (workers, replaced, same) == ("2", "1", "True")
    # On a slow machine, the actor that stays may have advanced all shards by itself.
    assert int(advances) in (2 * 3, 2 * 2)
