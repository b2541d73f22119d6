"""Measuring the seconds of every choice of a supernet, and of whole subnets beside it."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from raynas.costs.latency import space_digest
from raynas.costs.latency_table import LatencyTable, Measurement, Verification
from raynas.devices import THREADS
from raynas.errors import is_whole, require, require_kind

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import ChainSupernet

WARM_UP = 2
"""Runs of every part before those that count."""

Observer = Callable[[int, int, int], None]
"""Is told the size of batch, and how many of how many rounds are done."""


@final
@dataclass(frozen=True)
class TimingSettings:
    """The way latencies are measured.

    Args:
        batches: sizes of batch.
        rounds: how often every part is timed; the median counts.
        subnets: whole subnets, random ones, that the sums of the table are compared with; ranks
            take two of them.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        threads: of the processor.
        seed: of the subnets.

    Raises:
        InputError: a value out of range, or no batches.
    """

    batches: tuple[int, ...] = (1, 32)
    rounds: int = 11
    subnets: int = 30
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        sizes: object = self.batches
        require(
            isinstance(sizes, list | tuple) and len(sizes) > 0,
            "batches",
            "sizes of batch, at least one",
            repr(sizes),
            "Use (1, 32).",
        )
        object.__setattr__(self, "batches", tuple(self.batches))
        numbers: dict[str, tuple[Sequence[object], int, int | None]] = {
            "batches": (self.batches, 1, None),
            "rounds": ([self.rounds], 1, None),
            "subnets": ([self.subnets], 2, None),
            "threads": ([self.threads], 1, THREADS),
            "seed": ([self.seed], 0, None),
        }
        for name, (values, least, most) in numbers.items():
            for value in values:
                require(
                    is_whole(value) and least <= value <= (most or value),
                    name,
                    f"a whole number from {least}" + (f" to {most}" if most else ""),
                    repr(value),
                    "Change the setting.",
                )
        require(
            self.device in ("auto", "cpu", "cuda"),
            "device",
            "'auto' or 'cpu' or 'cuda'",
            repr(self.device),
            "Choose one of them.",
        )


def measure_latency(
    supernet: ChainSupernet,
    settings: TimingSettings | None = None,
    observer: Observer | None = None,
) -> LatencyTable:
    """Measure every choice of every block, and whole subnets beside them, on this machine.

    Modules run in evaluation mode, as they are exported, on activations of fixed examples: those
    with a `raynas_plain` are replaced (`raynas.supernets.plain_modules`). In each round all
    parts are timed one after another, so that drifts of the machine meet all of them; a part's
    seconds are the median of its rounds.

    Args:
        supernet: it stays as it is.
        settings: batches, rounds, device, threads.
        observer: is told of each round.

    Raises:
        InputError: no such device, or a module that cannot be copied, made plain or run.
    """
    import torch

    from raynas.devices import device_model, resolve_device
    from raynas.supernets.chain import ChainSupernet
    from raynas.supernets.chain_nodes import examined_copy
    from raynas.supernets.plain_modules import make_plain
    from raynas.torch_state import cpu_threads, plain_state

    chosen = TimingSettings() if settings is None else settings
    require_kind(supernet, ChainSupernet, "supernet", "Build one of stem, blocks and head.")
    device = resolve_device(chosen.device)
    digest = space_digest(supernet)
    replica = examined_copy(supernet)
    make_plain(replica)
    replica.to(device).eval()
    with plain_state("cpu", "cuda"), cpu_threads(chosen.threads), torch.no_grad():
        batches = {
            size: measure_batch(replica, size, chosen, device, observer) for size in chosen.batches
        }
    setting = {
        "threads": chosen.threads if device.type == "cpu" else None,
        "types": sorted({str(each.dtype) for each in replica.parameters()}),
        "rounds": chosen.rounds,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return LatencyTable(device_model(device), digest, batches, setting)


def measure_batch(
    replica: ChainSupernet,
    size: int,
    settings: TimingSettings,
    device: torch.device,
    observer: Observer | None,
) -> Measurement:
    """The seconds of all parts for one size of batch."""
    rng = np.random.default_rng(settings.seed)
    subnets = [replica.space.sample(rng) for _ in range(settings.subnets)]
    calls = [*part_calls(replica, size, device), *subnet_calls(replica, subnets, size, device)]
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(settings.rounds):
        for call, found in zip(calls, seconds, strict=True):
            found.append(time_call(call, device, warm_up=WARM_UP if number == 0 else 0))
        if observer is not None:
            observer(size, number + 1, settings.rounds)
    medians = iter([statistics.median(found) for found in seconds])
    stem = next(medians)
    blocks = tuple(tuple(next(medians) for _ in range(n)) for n in replica.space.choices)
    head = next(medians)
    predicted = tuple(
        stem + head + sum(row[choice] for row, choice in zip(blocks, subnet, strict=True))
        for subnet in subnets
    )
    return Measurement(stem, blocks, head, Verification(tuple(subnets), predicted, tuple(medians)))


def part_calls(replica: ChainSupernet, size: int, device: torch.device) -> list[Callable[[], Any]]:
    """A call of the stem, of every choice, and of the head, each on an activation of its own."""
    from functools import partial

    from raynas.supernets.chain_nodes import chain_nodes, example_batch

    x = example_batch(replica, size).to(device)
    calls: list[Callable[[], Any]] = []
    depth, following = 0, x
    for node in chain_nodes(replica):
        if node.depth > depth:
            depth, x = node.depth, following
        calls.append(partial(node.module, x))
        if node.name.endswith("[0]") or node.depth == 0:
            following = node.module(x.clone())
    return calls


def subnet_calls(
    replica: ChainSupernet, subnets: Sequence[tuple[int, ...]], size: int, device: torch.device
) -> list[Callable[[], Any]]:
    """A call of each whole subnet on the same examples."""
    from functools import partial

    from raynas.supernets.chain_nodes import example_batch

    x = example_batch(replica, size).to(device)
    return [partial(replica.subnet(subnet), x) for subnet in subnets]


def time_call(call: Callable[[], Any], device: torch.device, *, warm_up: int) -> float:
    """The seconds of one call, after some that do not count."""
    import torch

    for _ in range(warm_up):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
