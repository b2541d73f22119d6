"""Searches small enough for a second: supernets, data and settings that the tests share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import raynas
from raynas.data import Shard
from raynas.evolution import Strategy
from raynas.testing.supernets import small_data, small_supernet
from raynas.workers.calls import Call
from raynas.workers.pool import LocalPool


class CountedShards(Sequence[Shard]):
    """Shards that note when they are read."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: Any) -> Any:
        assert isinstance(index, int)
        self.reads.append(index)
        return self.shards[index]

    def __iter__(self) -> Iterator[Shard]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Setting:
    """What determines the history of a search, beside supernet, data and seed."""

    strategy: Strategy
    evaluation: raynas.Evaluation = field(default=raynas.Evaluation(device="cpu"))
    constraint: raynas.FLOPs | None = None


SHARED: dict[str, Any] = {"population": 8, "generations": 6, "top_k": 4}
PCF = raynas.PCFES(**SHARED, threshold=0.5, monitor=2)
SETTINGS = {
    "pcf, top samples, 16 bits": Setting(
        PCF, raynas.Evaluation(sample_rate=0.5, bits=16, device="cpu")
    ),
    "pcf, weighted samples": Setting(
        replace(PCF, census="top_k", threshold=0.55),
        raynas.Evaluation(sample_rate=0.5, sampling="weighted", prefix_sharing=False, device="cpu"),
        raynas.FLOPs(at_most=25_000),
    ),
    "pcf, disagreeing samples": Setting(
        PCF, raynas.Evaluation(sample_rate=0.3, sampling="disagreement", device="cpu")
    ),
    "pcf, first votes": Setting(
        PCF,
        raynas.Evaluation(
            unfrozen_sample_rate=0.6,
            voters=3,
            sample_rate=0.4,
            sampling="disagreement",
            bits=16,
            device="cpu",
        ),
    ),
    "cf, inherited": Setting(
        raynas.CFES(**SHARED, threshold=0.55),
        raynas.Evaluation(batch_norm="inherit", bits=16, device="cpu"),
        raynas.FLOPs(at_most=25_000),
    ),
    "ea, limited": Setting(raynas.EA(**SHARED), constraint=raynas.FLOPs(at_most=20_000)),
    "random": Setting(raynas.RandomSearch(**SHARED)),
}
SAMPLED = SETTINGS["pcf, top samples, 16 bits"]


def run_search(
    run_dir: Path, setting: Setting = SAMPLED, *, workers: int = 0, seed: int = 2, **options: Any
) -> Any:
    """Search the small supernet."""
    chosen = {
        "supernet": small_supernet(),
        "data": small_data(),
        "strategy": setting.strategy,
        "evaluation": setting.evaluation,
        "constraint": setting.constraint,
        **options,
    }
    supernet, data = chosen.pop("supernet"), chosen.pop("data")
    return raynas.search(supernet, data, run_dir=run_dir, workers=workers, seed=seed, **chosen)


def history(run_dir: Path) -> bytes:
    return (run_dir / "generations.jsonl").read_bytes()


def records(run_dir: Path, name: str = "generations.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / name).read_text().splitlines()]


VARYING = (
    *("seconds", "final_seconds", "replay_seconds", "workers", "busy", "busy_seconds"),
    *("utilisation", "gpu_hours", "energy_j", "energy_source", "energy_missing", "co2_g"),
)
"""What machines and interruptions may change in a result."""


def determined(run_dir: Path) -> dict[str, Any]:
    """What the seed and the protocol determine in a result."""
    result = json.loads((run_dir / "result.json").read_text())
    assert set(VARYING) <= set(result)
    return {name: value for name, value in result.items() if name not in VARYING}


def strict_json(path: Path) -> Any:
    """A JSON file without NaN or infinity."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the operation's name with each evaluator call in this process."""
    made: list[str] = []
    run = LocalPool.run

    def counted(self: LocalPool, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        made.extend(call.name for call in calls)
        return run(self, calls, keep=keep)

    monkeypatch.setattr(LocalPool, "run", counted)
    return made


class Interrupted(Exception):
    """Stands for whatever ends a search early."""


def interrupt(run_dir: Path, generations: int, **options: Any) -> None:
    """Search, and stop once so many generations are on the disk."""

    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        if record["generation"] + 1 == generations:
            raise Interrupted

    try:
        run_search(run_dir, observer=observe, **options)
    except Interrupted:
        return
    raise AssertionError("the search ended before it could be interrupted")


def copy_of(run_dir: Path, folder: Path) -> Path:
    """A copy of a run directory."""
    return Path(shutil.copytree(run_dir, folder / "copy"))
