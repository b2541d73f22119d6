"""`raynas train` under torchrun: one process group, and one process that speaks for all."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from raynas.errors import InputError
from raynas.training.processes import FirstProcessError, Processes
from raynas.training.progress import TrainingDivergedError

ENDED = "raynas: process 0 has ended"
"""The key that process 0 sets when it has told everything."""

TOLD = (InputError, OSError, TrainingDivergedError, FirstProcessError, KeyboardInterrupt)
"""Errors that process 0 tells: all meet them, or it alone does."""

PATIENCE = timedelta(seconds=60)
"""The longest that another process keeps an error to itself, in case that process 0 tells it."""


@contextmanager
def joined() -> Iterator[Processes]:
    """Train together with the other processes that torchrun started, if it did.

    Process 0 alone prints. An error that all meet is told by it, and torchrun ends a job as soon as
    one process fails: so the others keep what they met to themselves until process 0 has ended, and
    tell it only if that does not.

    Raises:
        InputError: several processes are announced, but not how they find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield Processes.current()
        return
    store, processes = meet()
    try:
        with (
            open(os.devnull, "w") as nowhere,
            redirect_stdout(sys.stdout if processes.first else nowhere),
        ):
            yield processes
    except TOLD as error:
        if not processes.first and has_ended(store):
            sys.exit(2 if isinstance(error, InputError | OSError) else 1)
        raise
    finally:
        dist.destroy_process_group()


def meet() -> tuple[Any, Processes]:
    """Initialise the process group: NCCL for what is on GPUs, Gloo for the rest.

    Returns:
        A store that all processes share, and the processes.
    """
    # Builds of torch without torch.distributed train alone, and have no such module.
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, count = next(rendezvous("env://"))
    except ValueError as error:
        raise InputError(
            "WORLD_SIZE",
            "1, or the environment that torchrun makes",
            f"{os.environ['WORLD_SIZE']} ({error})",
            "Start it as torchrun --nproc-per-node N -m raynas train …",
        ) from error
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    processes = Processes.current()
    if processes.first:
        atexit.register(say_ended, store)
    return store, processes


def say_ended(store: Any) -> None:
    """Let the others end, too; there is nobody to tell if torchrun itself is gone."""
    with suppress(RuntimeError):
        store.set(ENDED, "")


def has_ended(store: Any) -> bool:
    """Wait for process 0 to end, and whether it did."""
    try:
        store.wait([ENDED], PATIENCE)
    except RuntimeError:
        return False
    return True
