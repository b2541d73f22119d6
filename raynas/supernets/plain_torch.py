"""The caller's torch state, put aside while a supernet is examined: checks, fingerprints, costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

SEED = 20_200_429
"""Of the random numbers that an examined module may draw."""


@contextmanager
def plain_torch() -> Iterator[None]:
    """Float32 on one CPU thread without gradients, whatever the caller has switched on.

    Autocast, inference mode, the default type and device, matmul precision, deterministic
    algorithms, threads and the states of all random generators on the CPU are put back at the end.
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    precision = torch.get_float32_matmul_precision()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False, dtype=torch.bfloat16))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(kept_generators())
        try:
            torch.set_num_threads(1)
            torch.set_default_dtype(torch.float32)
            torch.set_float32_matmul_precision("highest")
            torch.use_deterministic_algorithms(False)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
            torch.set_float32_matmul_precision(precision)
            torch.set_default_dtype(dtype)
            if threads != 1:
                torch.set_num_threads(threads)


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
