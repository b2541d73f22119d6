"""Run directories with records of known numbers, as searches write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = (("c3", "c5", "x"), ("c3", "c5", "x"), ("c3", "x"))
"""The choices of the three blocks."""

CHOICES = [len(own) for own in NAMES]

EVALUATION = {"sample_rate": 0.5, "sampling": "disagreement", "unfrozen_sample_rate": 1.0}


def config(strategy: str = "PCFES", **changes: Any) -> dict[str, Any]:
    """The configuration of a search of a supernet."""
    return {
        "format": 3,
        "seed": 5,
        "supernet": {"digest": "a1b2c3d4e5", "choices": CHOICES, "names": [list(n) for n in NAMES]},
        "data": {"name": "noise", "digest": "ffee"},
        "task": {"task": "classification", "num_classes": 4},
        "constraint": {"flops": {"at_most": 900, "table": "0a"}},
        "strategy": {"strategy": strategy, "generations": 4, "threshold": 0.6, "monitor": 2},
        "evaluation": EVALUATION,
        "device": "cpu",
        **changes,
    }


def score(architecture: Sequence[int], top1: float | None, **more: Any) -> dict[str, Any]:
    """A recorded score; its costs are made of its choices."""
    flops = 100 * (1 + sum(architecture))
    return {
        "architecture": list(architecture),
        "top1": top1,
        "top5": top1,
        "loss": None if top1 is None else 1.0 - top1,
        "finite": top1 is not None,
        "samples": 40,
        "costs": {"flops": flops, "params": flops // 10 + architecture[0]},
        **more,
    }


def generation(
    number: int,
    population: Sequence[dict[str, Any]],
    prefix: Sequence[int] = (),
    **more: Any,
) -> dict[str, Any]:
    """The record of a generation whose best so far is its own best."""
    usable = [each for each in population if each["finite"]]
    best = max(usable, key=lambda each: each.get("top1", 0.0), default=None)
    kept = [name for name in ("architecture", "top1", "top5", "error") if name in (best or {})]
    return {
        "generation": number,
        "prefix": list(prefix),
        "frozen": len(prefix),
        "refused": None,
        "finished": None,
        "samples": 40,
        "selection": None,
        "origins": {},
        "best": None if best is None else {name: best[name] for name in kept},
        "rescored": [],
        "population": list(population),
        **more,
    }


GENERATIONS = [
    generation(0, [score(a, t) for a, t in [((0, 0, 0), 0.5), ((1, 1, 1), 0.6), ((2, 0, 1), 0.3)]]),
    generation(1, [score(a, t) for a, t in [((0, 1, 0), 0.7), ((0, 1, 1), 0.4), ((0, 2, 0), 0.6)]]),
    generation(
        2,
        [score((0, 1, 1), 0.8, samples=20), score((0, 2, 1), None, samples=20)],
        prefix=[0],
        rescored=[score((0, 1, 0), 0.65, samples=20)],
        selection="77",
        samples=20,
    ),
    generation(
        3, [], prefix=[0, 1], selection="77", samples=20, finished="legal architectures exhausted"
    ),
]
"""Four generations: the first block is frozen at the third, the second at the fourth."""

IMPORTANCE = {
    "samples": 40,
    "kept": 20,
    "subnets": 3,
    "ranks": [0, 10, 20, 30],
    "losses": [[4.0, 2.0, 1.0, 0.5], [3.5, 2.5, 0.5, 0.25], [4.5, 1.0, 0.75, 0.0]],
    "kept_shares": [1.0, 0.8, 0.2, 0.0],
}

VERSIONS = {"raynas": "0.1.0", "python": "3.11.7", "torch": "2.14.1"}


def metrics(number: int, **more: Any) -> dict[str, Any]:
    """The metrics of a generation: two workers were busy for a part of it."""
    return {
        "generation": number,
        "seconds": 4.0,
        "freeze_seconds": 1.0,
        "energy_j": None,
        "workers": 2,
        "known": 0,
        "block_forwards": 120,
        "busy": {"calibrate": 2.0, "score": 5.0, "advance": 0.0},
        "busy_seconds": 7.0,
        "importance": IMPORTANCE if number == 2 else None,
        "versions": VERSIONS,
        **more,
    }


def result(**more: Any) -> dict[str, Any]:
    """The result of those four generations."""
    winner = {**score((0, 1, 1), 0.75), "names": ["c3", "c5", "x"]}
    other = {**score((0, 1, 0), 0.7), "names": ["c3", "c5", "c3"]}
    return {
        **winner,
        "objectives": ["top1", "top5"],
        "test_top1": 0.725,
        "test_top5": 0.9,
        "finished": "legal architectures exhausted",
        "seconds": 18.0,
        "final_seconds": 2.0,
        "busy_seconds": 28.0,
        "utilisation": 0.78,
        "gpu_hours": None,
        "energy_j": 5400.0,
        "energy_source": "measured",
        "energy_missing": None,
        "co2_g": 0.6,
        "co2_g_per_kwh": 400,
        "versions": VERSIONS,
        "front": [winner],
        "finalists": [winner, other],
        **more,
    }


def write_run(
    directory: Path,
    *,
    generations: Sequence[dict[str, Any]] = GENERATIONS,
    ended: dict[str, Any] | None = None,
    timed: bool = True,
    **changes: Any,
) -> Path:
    """Write the records of a run, as a search does.

    Args:
        directory: of the run.
        generations: that are recorded.
        ended: the result; none if omitted.
        timed: whether there are metrics.
        changes: of the configuration.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = {"generations.jsonl": generations}
    if timed:
        lines["metrics.jsonl"] = [metrics(each["generation"]) for each in generations]
    for name, records in lines.items():
        (directory / name).write_text("".join(f"{json.dumps(each)}\n" for each in records))
    (directory / "config.json").write_text(json.dumps(config(**changes)))
    if ended is not None:
        (directory / "result.json").write_text(json.dumps(ended))
    return directory


def rewrite(path: Path, **changes: Any) -> None:
    """Change fields of a JSON object in a file; those that become `...` are removed."""
    content = {**json.loads(path.read_text()), **changes}
    kept = {name: value for name, value in content.items() if value is not ...}
    path.write_text(json.dumps(kept))
