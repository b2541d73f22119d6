"""The Ray cluster: joined where there is one, started where there is none, left as it was found."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from raynas.errors import InputError, require
from raynas.evaluation.settings import Evaluation
from raynas.workers.handshake import accepts, require_form, require_ray

AuthenticationError: Any = getattr(ray.exceptions, "AuthenticationError", ())
"""Raised where a token is missing, by the versions of Ray that ask for one."""

Resources = Mapping[str, float]
"""The resources of one node, by name: `"CPU"`, `"GPU"` and others."""


@contextmanager
def connected(*, dashboard: bool = False) -> Iterator[None]:
    """A connection to Ray for the time of the context.

    Uses the caller's connection if there is one; else joins the cluster of `RAY_ADDRESS` or of
    this machine; else starts Ray on this machine, and stops it at the end.

    Args:
        dashboard: start Ray's dashboard with it, and print its address, or that of the cluster.

    Raises:
        InputError: `RAY_ADDRESS` names a cluster that does not answer, or the cluster asks for a
            token that is not here.
    """
    if ray.is_initialized():
        if dashboard:
            # Nothing is started again, but told.
            print_dashboard(ray.init(ignore_reinit_error=True, configure_logging=False))
        yield
        return
    address = find_cluster()
    try:
        joined = ray.init(
            address,
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except AuthenticationError as error:
        raise InputError(
            "RAY_AUTH_MODE",
            "the token of the cluster",
            root_cause(error),
            "Copy the cluster's ~/.ray/auth_token here, and set RAY_AUTH_MODE=token.",
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address == "local":
            raise
        raise InputError(
            "RAY_ADDRESS",
            "the address of a running Ray cluster",
            f"{address}: {root_cause(error)}",
            "Start the cluster, or set RAY_ADDRESS=local to start Ray on this machine.",
        ) from error
    try:
        if dashboard:
            print_dashboard(joined)
        yield
    finally:
        ray.shutdown()


def print_dashboard(joined: Any) -> None:
    """Print the address of the dashboard of a cluster that was joined, or that it has none."""
    url = joined.dashboard_url
    if not url:
        told = "none; start the cluster with ray start --head --include-dashboard=true"
    else:
        where = url if "://" in url else f"http://{url}"
        told = f"{where}; if it asks for a token: ray get-auth-token"
    print(f"Ray's dashboard: {told}", flush=True)


def root_cause(error: BaseException) -> str:
    """The last line of what started it all: Ray wraps it in tracebacks."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def find_cluster() -> str:
    """The address of the cluster to join, or `"local"` to start Ray on this machine.

    A cluster that nobody named is joined as `"auto"`, for which Ray finds its token by itself.

    Raises:
        InputError: nothing listens at `RAY_ADDRESS`, or something else than Ray, for which Ray
            would wait for minutes.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return named
    require_form(named)
    address = latest_cluster() if named in ("", "auto") else named
    if accepts(address):
        if named:
            require_ray(address)
            return named
        if is_ray(address):
            return "auto"
    require(
        named == "",
        "RAY_ADDRESS",
        "the address of a running Ray cluster, as host:port",
        f"{named!r}, where none answers",
        "Start the cluster, or unset RAY_ADDRESS to start Ray on this machine.",
    )
    return "local"


def is_ray(address: str) -> bool:
    """Whether Ray answers at an address."""
    try:
        require_ray(address)
    except InputError:
        return False
    return True


def latest_cluster() -> str:
    """The address that the last `ray start` on this machine noted; empty if there is none.

    The note outlives a cluster that crashed.
    """
    system = os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    folder = os.environ.get("RAY_TMPDIR") or system or "/tmp"
    try:
        return Path(folder, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def node_resources() -> list[Resources]:
    """The resources of every living node of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def worker_resources(settings: Evaluation, nodes: Sequence[Resources]) -> dict[str, float]:
    """The resources that one worker reserves: a GPU where there are some to be used, and threads.

    Args:
        settings: the evaluation protocol.
        nodes: the resources of every node.
    """
    has_gpu = any(node.get("GPU", 0.0) >= 1.0 for node in nodes)
    if settings.device == "cuda" or (settings.device == "auto" and has_gpu):
        return {"CPU": 1.0, "GPU": 1.0}
    return {"CPU": float(settings.threads)}


def resolve_workers(workers: int | None, settings: Evaluation, nodes: Sequence[Resources]) -> int:
    """The number of workers; `None` means as many as fit, one per GPU or one per core.

    Requests beyond a cluster's capacity would wait for ever, so they are refused here. A worker
    fits on a node, whatever other nodes have left over.

    Raises:
        InputError: more workers than the cluster has resources for, or more threads of each than
            a node has cores.
    """
    each = worker_resources(settings, nodes)
    largest = max((int(node.get("CPU", 0.0)) for node in nodes), default=0)
    require(
        each["CPU"] <= max(largest, 1),
        "threads",
        f"at most {largest}, the cores of the largest node: a worker reserves one for each thread",
        settings.threads,
        "Use fewer threads, or workers=0 (this process).",
    )
    fits = sum(
        min(int(node.get(name, 0.0) // amount) for name, amount in each.items()) for node in nodes
    )
    asked = max(fits, 1) if workers is None else int(workers)
    total = {name: sum(node.get(name, 0.0) for node in nodes) for name in each}
    require(
        asked <= fits,
        "workers",
        f"at most {fits}, since each takes {in_words(each)} of one node and the cluster has "
        f"{in_words(total)} on {len(nodes)}",
        asked,
        "Ask for fewer workers, or add nodes to the cluster.",
    )
    return asked


def in_words(resources: Resources) -> str:
    """Resources in words: `"1 CPU and 1 GPU"`."""
    return " and ".join(f"{amount:.12g} {name}" for name, amount in resources.items())
