"""What answers at an address is asked whether it is Ray, and refused by name if it is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import grpc
import pytest
from servers import grpc_server, plain_server

from raynas.errors import InputError
from raynas.workers import handshake
from raynas.workers.handshake import CLIENTS, HEAD, accepts, require_form, require_ray

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


NEVER = 3600.0
"""Seconds that no answer takes."""


def refused(address: str, seconds: float = NEVER) -> str:
    with pytest.raises(InputError) as caught:
        require_ray(address, seconds)
    assert caught.value.argument == "RAY_ADDRESS"
    assert repr(address) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "ray://"])
@pytest.mark.parametrize("answer", [NOT_FOUND, b"", b"\x00" * 40])
def test_a_server_of_another_kind_is_refused(prefix: str, answer: bytes):
    with plain_server(answer) as address:
        assert accepts(prefix + address)
        assert "something else than Ray listens" in refused(prefix + address)


def test_a_server_that_says_nothing_is_refused_after_a_while():
    with plain_server(None) as address:
        assert "nothing was answered" in refused(address, seconds=0.3)


def test_another_grpc_server_is_refused():
    with grpc_server({"/some.other.Service/Call": lambda request, context: b""}) as address:
        assert "another service listens" in refused(address)
        assert "another service listens" in refused("ray://" + address)


def test_the_head_of_a_cluster_is_no_server_of_clients():
    with grpc_server({HEAD.call: lambda request, context: b""}) as address:
        require_ray(address, NEVER)
        assert "Ray's server for ray://" in refused("ray://" + address)
    with grpc_server({CLIENTS.call: lambda request, context: b""}) as address:
        require_ray("ray://" + address, NEVER)
        assert "the head of a Ray cluster" in refused(address)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL])
def test_a_cluster_that_asks_for_a_token_is_a_cluster(code: grpc.StatusCode):
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "no")
        return b""

    with grpc_server({HEAD.call: refuse}) as address:
        require_ray(address, NEVER)


def test_a_slow_cluster_is_waited_for():
    asked, go = threading.Event(), threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.set()
        go.wait()
        return b""

    found: list[str] = []
    with grpc_server({HEAD.call: answer}) as address:
        waiting = threading.Thread(
            target=lambda: found.append(handshake.ask(HEAD, address, seconds=NEVER))
        )
        waiting.start()
        asked.wait()
        assert found == []
        go.set()
        waiting.join()
    assert found == [""]


def test_a_proxy_for_web_pages_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    with (
        plain_server(NOT_FOUND) as proxy,
        grpc_server({HEAD.call: lambda request, context: b""}) as address,
    ):
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        require_ray(address, NEVER)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://head:443", "grpc://a:1"])
def test_addresses_of_another_kind_are_refused(address: str):
    with pytest.raises(InputError, match="ray job submit") as caught:
        require_form(address)
    assert caught.value.argument == "RAY_ADDRESS"
    assert repr(address) in str(caught.value)


def test_addresses_of_clusters_are_not_refused_for_their_form():
    for address in ("", "auto", "local", "127.0.0.1:6379", "[::1]:6379", "ray://head:10001"):
        require_form(address)


def test_encrypted_clusters_are_left_to_ray(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    require_ray("127.0.0.1:1")


@pytest.mark.ray
def test_a_real_head_is_known(ray_cluster: None):
    import ray

    node, address = ray.nodes()[0], ray.get_runtime_context().gcs_address
    require_ray(address, NEVER)
    assert "Ray's server for ray://" in refused("ray://" + address)
    assert "another service listens" in refused(
        f"{address.split(':')[0]}:{node['NodeManagerPort']}"
    )


@pytest.mark.ray
def test_a_real_server_of_clients_is_known(ray_cluster: None):
    import ray

    with plain_server(b"") as free:
        address = free
    head, port = ray.get_runtime_context().gcs_address, address.split(":")[1]
    command = [sys.executable, "-m", "ray.util.client.server", "--mode", "proxy"]
    served = subprocess.Popen(
        [*command, "--address", head, "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not accepts(address):
            assert served.poll() is None
            time.sleep(0.1)
        require_ray(f"ray://{address}", NEVER)
        assert "the head of a Ray cluster" in refused(address)
    finally:
        served.terminate()
        served.wait()
