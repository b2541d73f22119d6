"""Ray is joined where it runs, started where it does not, and left as it was found."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from random_chains import Scene, build_scene
from servers import grpc_server, plain_server

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.device.numerics import Arithmetic
from raynas.workers.calls import ScoreShard
from raynas.workers.handshake import CLIENTS, HEAD, accepts
from raynas.workers.open_pool import check_workers, open_pool
from raynas.workers.pool import LocalPool
from raynas.workers.ray_cluster import connected, find_cluster, root_cause


@pytest.fixture
def dead_address() -> str:
    """Of a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def live_address() -> Iterator[str]:
    """Of something that answers as the head of a cluster and as its server of clients."""
    known = {service.call: lambda request, context: b"" for service in (HEAD, CLIENTS)}
    with grpc_server(known) as address:
        yield address


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of Ray's own, with a path short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def note(folder: Path, address: str) -> None:
    """Leave the note that `ray start` leaves."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address + "\n")


def test_without_a_cluster_one_is_started(ray_folder, monkeypatch):
    assert find_cluster() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert find_cluster() == "local"


@pytest.mark.parametrize("named", [None, "auto"])
def test_the_cluster_of_this_machine_is_joined(ray_folder, live_address, monkeypatch, named):
    note(ray_folder, live_address)
    if named:
        monkeypatch.setenv("RAY_ADDRESS", named)
    assert find_cluster() == "auto"


def test_the_note_of_a_cluster_that_crashed_is_passed_over(ray_folder, dead_address):
    note(ray_folder, dead_address)
    assert find_cluster() == "local"


def test_the_note_of_a_cluster_whose_port_something_else_has_now_is_passed_over(ray_folder):
    with plain_server(b"HTTP/1.1 404 Not Found\r\n\r\n") as address:
        note(ray_folder, address)
        assert find_cluster() == "local"


@pytest.mark.parametrize("form", ["{}", "ray://{}", "http://{}", "auto"])
def test_something_else_than_ray_is_refused(ray_folder, monkeypatch, form: str):
    with plain_server(b"HTTP/1.1 404 Not Found\r\n\r\n") as address:
        note(ray_folder, address)
        monkeypatch.setenv("RAY_ADDRESS", form.format(address))
        with pytest.raises(InputError) as caught:
            find_cluster()
    assert caught.value.argument == "RAY_ADDRESS"


def test_the_named_cluster_comes_before_that_of_this_machine(
    ray_folder, dead_address, live_address, monkeypatch
):
    note(ray_folder, dead_address)
    for address in (live_address, f"ray://{live_address}", "local"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert find_cluster() == address


@pytest.mark.parametrize(
    "address", ["auto", "nowhere", "127.0.0.1:", "127.0.0.1:99999", "no.such.host.invalid:6379"]
)
def test_a_cluster_that_does_not_answer_is_refused(ray_folder, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError) as caught:
        find_cluster()
    assert caught.value.argument == "RAY_ADDRESS"
    assert repr(address) in str(caught.value)


def test_only_what_listens_accepts_connections(dead_address, live_address):
    assert accepts(live_address)
    assert accepts(f"ray://{live_address}")
    assert not accepts(dead_address)
    assert not accepts("")


def test_the_cause_of_an_error_is_its_first_one_in_a_line():
    error = ConnectionError("Failed to connect")
    error.__cause__ = RuntimeError("Traceback:\n  ...\nthe token is missing\n")
    assert root_cause(error) == "the token is missing"
    assert root_cause(ValueError()) == "ValueError"


def run_alone(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


REFUSED = """
from raynas.workers.open_pool import check_workers
from raynas.errors import InputError
from raynas.evaluation import Evaluation
try:
    check_workers(Evaluation(), None)
except InputError as error:
    print(error)
"""


def test_a_dead_cluster_is_refused_before_ray_would_wait_for_it(helper_environment, dead_address):
    done = run_alone(REFUSED, helper_environment | {"RAY_ADDRESS": dead_address})
    assert done.stdout.startswith("RAY_ADDRESS: expected the address of a running Ray cluster")
    assert dead_address in done.stdout, done.stderr


STARTED = """
import ray
from raynas.workers.ray_cluster import connected
from raynas.workers.open_pool import check_workers
from raynas.errors import InputError
from raynas.evaluation import Evaluation
with connected():
    cores = int(ray.cluster_resources()["CPU"])
    check_workers(Evaluation(device="cpu"), cores)
    try:
        check_workers(Evaluation(device="cpu"), cores + 1)
    except InputError as error:
        print(error.argument)
    print(ray.is_initialized())
print(ray.is_initialized())
"""


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]


@pytest.mark.ray
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")
def test_a_ray_that_was_started_here_is_stopped(helper_environment, ray_folder):
    done = run_alone(STARTED, helper_environment | {"RAY_TMPDIR": str(ray_folder)})
    assert done.stdout.split() == ["workers", "True", "False"], done.stderr
    assert (ray_folder / "ray").exists()
    while processes_of(ray_folder):
        time.sleep(0.2)


JOINED = """
import ray
from raynas.workers.ray_cluster import connected
with connected():
    print(ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"])
print(ray.is_initialized())
"""


@pytest.mark.ray
def test_a_ray_that_runs_is_joined_and_left_running(ray_cluster, helper_environment):
    import ray

    address = ray.get_runtime_context().gcs_address
    done = run_alone(JOINED, helper_environment | {"RAY_ADDRESS": address})
    assert done.stdout.split() == [address, "4.0", "False"], done.stderr
    assert ray.cluster_resources()["CPU"] == 4.0


@pytest.mark.ray
def test_the_callers_connection_is_used_and_kept(ray_cluster, monkeypatch, dead_address):
    import ray

    monkeypatch.setenv("RAY_ADDRESS", dead_address)
    with connected():
        assert ray.is_initialized()
    assert ray.is_initialized()


@pytest.mark.ray
def test_more_workers_than_the_cluster_holds_are_refused_at_once(ray_cluster):
    supernet = build_scene(0).supernet
    for settings, workers, missing in (
        (Evaluation(device="cpu"), 5, "4 CPU"),
        (Evaluation(device="cuda"), 2, "1 GPU"),
        (Evaluation(), 2, "1 GPU"),
    ):
        with pytest.raises(InputError, match=missing), open_pool(supernet, settings, workers):
            pass
        with pytest.raises(InputError, match=missing):
            check_workers(settings, workers)


@pytest.mark.ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a GPU that does not exist")
def test_a_gpu_without_cuda_is_an_error_if_asked_for_and_else_the_cpu(ray_cluster):
    scene: Scene = build_scene(0)
    calls = [
        ScoreShard(shard, scene.candidates(2), "inherited", Arithmetic())
        for shard in scene.validation
    ]
    with (
        pytest.raises(InputError, match="CUDA") as caught,
        open_pool(scene.supernet, Evaluation(device="cuda"), 1) as pool,
    ):
        pool.run(calls)
    assert caught.value.argument == "device"
    with open_pool(scene.supernet, Evaluation(), None) as pool:
        assert (pool.workers, pool.gpus) == (1, 1)
        found = pool.run(calls)
    wanted = LocalPool(scene.supernet, Evaluation()).run(calls)
    for one, other in zip(found, wanted, strict=True):
        assert one.losses.tobytes() == other.losses.tobytes()


@pytest.mark.ray
def test_shards_in_the_store_are_shared_and_read_only(ray_cluster):
    import ray

    shard = build_scene(0).validation[0]
    placed = ray.put(shard)
    first, second = ray.get(placed), ray.get(placed)
    assert first.batch.equals(shard.batch, check_metadata=True)
    assert first.features.ctypes.data == second.features.ctypes.data
    assert not first.features.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first.features[0] = 0
