"""Asking an address whether it is Ray, since Ray itself would wait for minutes for an answer.

Every service of Ray speaks gRPC. A call that only the right one knows gets an answer from it, be it
that a token is missing; any other gRPC server says that it does not know the call, and what is no
gRPC server breaks the connection or keeps silent.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import final

from raynas.errors import InputError, require

CONNECT_SECONDS = 5.0
"""The time that an address may take to accept a connection."""

ANSWER_SECONDS = 20.0
"""The time that an address may take to answer: a busy cluster takes a second or two."""

CLIENT = "ray://"


@final
@dataclass(frozen=True)
class Service:
    """A service of Ray, and a call that no other one knows.

    Args:
        name: in words.
        call: `/package.service/method`.
        request: of the call, serialized.
    """

    name: str
    call: str
    request: bytes


HEAD = Service("the head of a Ray cluster", "/ray.rpc.NodeInfoGcsService/CheckAlive", b"")
CLIENTS = Service("Ray's server for ray://", "/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x04")
"""Field 1 of the request is its type; 4 is a ping."""


def accepts(address: str) -> bool:
    """Whether something accepts connections at `host:port` or `ray://host:port`."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def require_ray(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Raise `InputError` unless Ray answers at an address that accepts connections.

    Args:
        address: `host:port` of a head, or `ray://host:port`.
        seconds: how long it may take.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        # Ray's own certificates are needed to ask, and it refuses a server without them by itself.
        return
    service = CLIENTS if address.startswith(CLIENT) else HEAD
    problem = ask(service, address.removeprefix(CLIENT), seconds)
    require(
        problem == "",
        "RAY_ADDRESS",
        f"the address of {service.name}",
        f"{address!r}, where {problem}",
        "Give host:port as `ray start --head` printed it (6379 unless it was set; the dashboard's "
        "8265 is another), ray://host:10001, or unset RAY_ADDRESS to start Ray on this machine.",
    )


def ask(service: Service, target: str, seconds: float) -> str:
    """Call a service; return the fault of the one that answered, or `""`."""
    import grpc

    # A proxy for web pages would answer in the place of the cluster.
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(target, options) as channel:
        try:
            channel.unary_unary(service.call)(service.request, timeout=seconds)
        except grpc.RpcError as error:
            answers = {
                grpc.StatusCode.UNAVAILABLE: "something else than Ray listens",
                grpc.StatusCode.DEADLINE_EXCEEDED: f"nothing was answered in {seconds:.0f} s",
                grpc.StatusCode.UNIMPLEMENTED: "another service listens",
            }
            return answers.get(error.code(), "")
    return ""


def require_form(address: str) -> None:
    """Raise `InputError` if it is an address of another kind, such as that of a dashboard."""
    scheme, found, _ = address.partition("://")
    if found and scheme != "ray":
        raise InputError(
            "RAY_ADDRESS",
            "host:port of the head of a Ray cluster, or ray://host:port",
            repr(address),
            "A dashboard's address is for `ray job submit`; give the head's, with port 6379 unless "
            "it was set, or ray://host:10001.",
        )
