"""What all tests share: one intra-op thread, helpers that every process finds, and a Ray.

Floating-point sums depend on the number of threads, so a plain forward is an oracle to the last
bits only under the protocol's one.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent
HELPERS = [
    str(HERE),
    *(
        str(HERE / room)
        for room in ("contracts", "evaluation", "evolution", "population", "report", "workers")
    ),
]

sys.path[:0] = HELPERS
torch.set_num_threads(1)

# Neither a slow machine nor the luck of the draw is a failure of what is tested.
settings.register_profile(
    "raynas", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("raynas")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what thousands of tests are made of out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def helper_environment() -> dict[str, str]:
    """The environment of processes that import the helpers of these tests, and join no cluster."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    paths = [*HELPERS, *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(autouse=True)
def without_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the reports that searches of the command line end with, which take a second each.

    Tests of these are marked `reports`.
    """
    if request.node.get_closest_marker("reports") is None:
        monkeypatch.setattr("raynas.commands.workflow.report_runs", lambda *arguments: None)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """Ray on this machine, whatever other clusters there are, with a GPU that does not exist."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(HELPERS), prepend=os.pathsep)
        ray.init(
            "local", num_cpus=4, num_gpus=1, include_dashboard=False, logging_level=logging.ERROR
        )
    yield
    ray.shutdown()
