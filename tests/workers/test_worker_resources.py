"""How many workers a cluster holds, from the resources of its nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.workers.ray_cluster import resolve_workers, worker_resources

LAPTOP = [{"CPU": 2.0, "memory": 1e9}]
GPU_NODES = [{"CPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 32.0, "GPU": 4.0}]
NODES = st.lists(
    st.fixed_dictionaries(
        {"CPU": st.integers(0, 16).map(float)}, optional={"GPU": st.integers(0, 4).map(float)}
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize(
    ("settings", "nodes", "each"),
    [
        (Evaluation(), LAPTOP, {"CPU": 1.0}),
        (Evaluation(threads=4), LAPTOP, {"CPU": 4.0}),
        (Evaluation(), GPU_NODES, {"CPU": 1.0, "GPU": 1.0}),
        (Evaluation(device="cpu"), GPU_NODES, {"CPU": 1.0}),
        (Evaluation(device="cuda"), LAPTOP, {"CPU": 1.0, "GPU": 1.0}),
    ],
)
def test_a_worker_reserves_a_gpu_where_there_are_any_and_else_its_threads(settings, nodes, each):
    assert worker_resources(settings, nodes) == each


@pytest.mark.parametrize(
    ("settings", "nodes", "workers"),
    [
        (Evaluation(), LAPTOP, 2),
        (Evaluation(threads=2), LAPTOP, 1),
        (Evaluation(), GPU_NODES, 8),
        (Evaluation(device="cpu", threads=3), GPU_NODES, 2 + 10 + 10),
    ],
)
def test_none_takes_as_many_as_fit(settings, nodes, workers):
    assert resolve_workers(None, settings, nodes) == workers
    assert resolve_workers(workers, settings, nodes) == workers
    with pytest.raises(InputError) as caught:
        resolve_workers(workers + 1, settings, nodes)
    assert caught.value.argument == "workers"
    assert f"at most {workers}," in str(caught.value)
    assert str(caught.value).endswith("Ask for fewer workers, or add nodes to the cluster.")


def test_the_error_names_what_is_missing():
    with pytest.raises(InputError, match=r"each takes 1 CPU and 1 GPU .* 2 CPU and 0 GPU"):
        resolve_workers(1, Evaluation(device="cuda"), LAPTOP)
    with pytest.raises(InputError, match=r"each takes 1 CPU .* 2 CPU .* got 1000000"):
        resolve_workers(10**6, Evaluation(), LAPTOP)


@pytest.mark.parametrize("threads", [3, 1024])
@pytest.mark.parametrize("workers", [None, 1])
def test_more_threads_than_a_node_has_cores_are_refused(threads: int, workers: int | None):
    with pytest.raises(InputError, match=f"at most 2, .* got {threads}") as caught:
        resolve_workers(workers, Evaluation(threads=threads), LAPTOP)
    assert caught.value.argument == "threads"


def test_what_other_nodes_have_left_over_does_not_help():
    halves = [{"CPU": 3.0}, {"CPU": 3.0}]
    assert resolve_workers(None, Evaluation(threads=2), halves) == 2
    with pytest.raises(InputError):
        resolve_workers(1, Evaluation(threads=6), halves)
    apart = [{"CPU": 64.0}, {"CPU": 1.0, "GPU": 8.0}]
    assert resolve_workers(None, Evaluation(device="cuda"), apart) == 1


@given(NODES, st.integers(1, 4))
def test_as_many_workers_fit_as_can_be_placed_one_by_one(nodes, threads):
    settings = Evaluation(threads=threads)
    each = worker_resources(settings, nodes)
    left = [dict(node) for node in nodes]
    placed = 0
    for node in left:
        while all(node.get(name, 0.0) >= amount for name, amount in each.items()):
            placed += 1
            for name, amount in each.items():
                node[name] -= amount
    if placed:
        assert resolve_workers(None, settings, nodes) == placed
    with pytest.raises(InputError):
        resolve_workers(placed + 1, settings, nodes)
