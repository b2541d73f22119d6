"""The Ray cluster: joined where there is one, started where there is none, left as it was found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from raynas.errors import InputError, require
from raynas.evaluation.settings import Evaluation


@contextmanager
def connected() -> Iterator[None]:
    """A connection to Ray for the time of the context.

    Uses the caller's connection if there is one; else joins the cluster of `RAY_ADDRESS` or of
    this machine; else starts Ray on this machine, and stops it at the end.

    Raises:
        InputError: `RAY_ADDRESS` names a cluster that does not answer.
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise InputError(
            "RAY_ADDRESS",
            "the address of a running Ray cluster",
            str(error).strip().splitlines()[0],
            "Start the cluster, or unset RAY_ADDRESS to start Ray on this machine.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def worker_resources(settings: Evaluation, resources: Mapping[str, float]) -> dict[str, float]:
    """What one worker reserves: a GPU where the cluster has them and may be used, and threads.

    Args:
        settings: the evaluation protocol.
        resources: of the whole cluster, as `ray.cluster_resources()` gives them.
    """
    gpus = resources.get("GPU", 0.0)
    wants_gpu = settings.device == "cuda" or (settings.device == "auto" and gpus >= 1)
    if wants_gpu:
        return {"CPU": 1.0, "GPU": 1.0}
    return {"CPU": float(settings.threads)}


def resolve_workers(
    workers: int | None, settings: Evaluation, resources: Mapping[str, float]
) -> int:
    """The number of workers; `None` means as many as fit, one per GPU or one per core.

    Requests beyond a cluster's capacity would wait for ever, so they are refused here.

    Raises:
        InputError: more workers than the cluster has resources for.
    """
    each = worker_resources(settings, resources)
    fits = min(int(resources.get(name, 0.0) // amount) for name, amount in each.items())
    asked = max(fits, 1) if workers is None else workers
    total = {name: resources.get(name, 0.0) for name in each}
    require(
        asked <= fits,
        "workers",
        f"at most {fits}, since each takes {_describe(each)} and the cluster has "
        f"{_describe(total)}",
        asked,
        "Ask for fewer workers, or add nodes to the cluster.",
    )
    return asked


def _describe(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
