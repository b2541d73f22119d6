"""The caller's torch state, put aside while a supernet is examined: checks, fingerprints, costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from raynas.torch_state import cpu_threads, plain_state

SEED = 20_200_429
"""The seed of the random numbers that an examined module may draw."""


@contextmanager
def plain_torch() -> Iterator[None]:
    """Float32 on one CPU thread without gradients, whatever the caller has switched on.

    Autocast, inference mode, the default type and device, matmul precision, deterministic
    algorithms, threads and the states of all random generators on the CPU are put back at the end.
    """
    with plain_state("cpu", "cuda"), cpu_threads(1), kept_generators():
        yield


@contextmanager
def kept_generators() -> Iterator[None]:
    """The random generators of torch (on the CPU), numpy and Python, seeded, and put back after."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        seed_generators()
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


def seed_generators() -> None:
    """Let a module that draws random numbers draw the same ones as before."""
    torch.default_generator.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    random.seed(SEED)
