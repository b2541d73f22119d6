"""Generations of random candidates, scored by whichever version of the package comes first.

`versions.py` starts this file once for each version, and asks for one generation a line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

FROZEN = 6
"""Blocks of 12 that `frozen+trie` and `all` have frozen."""

MODES: dict[str, dict[str, Any]] = {
    "trie": {},
    "frozen+trie": {},
    "all": {
        "sampling": "disagreement",
        "unfrozen_sample_rate": 0.3,
        "voters": 10,
        "sample_rate": 0.3,
        "calibration_images": 250,
        "precision": "bfloat16",
        "fold_batch_norm": True,
    },
}
"""The protocol of each mode."""


def serve(mode: str, folder: Path, quick: bool) -> None:
    """Answer each line with the seconds and the correct counts of another generation."""
    import raynas
    from raynas.population.evaluated import Splits
    from raynas.population.evaluator import PopulationEvaluator
    from raynas.shards.shard import make_shards
    from raynas.workers.pool import LocalPool

    if not Path(raynas.__file__).is_relative_to(folder):
        raise SystemExit(f"raynas came from {raynas.__file__}, not from {folder}")
    rng = np.random.default_rng(0)

    def split(name: str, count: int) -> Any:
        images = rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        return make_shards(images, rng.integers(0, 10, count), split=name, shard_size=125)

    splits = Splits(split("calibration", 250 if quick else 1_000), split("validation", 500))
    torch.manual_seed(0)
    supernet = raynas.supernets.spos_28x28(10)
    settings = raynas.Evaluation(device="cpu", threads=1, **MODES[mode])
    evaluator = PopulationEvaluator(LocalPool(supernet, settings), splits, settings, 0)
    first = population(supernet, 0, (), 10)
    prefix = () if mode == "trie" else first[0][:FROZEN]
    if mode == "all":
        evaluator.vote_first(first)
    if prefix:
        evaluator.score(first)
        evaluator.freeze(prefix, first[0])
    for turn, _ in enumerate(sys.stdin):
        candidates = population(supernet, turn + 1, prefix, 4 if quick else 25)
        begun, spent = time.perf_counter(), time.process_time()
        scores = evaluator.score_again(candidates)
        answer = {
            "seconds": time.perf_counter() - begun,
            "processor_seconds": time.process_time() - spent,
            "correct": [score.correct for score in scores],
        }
        print(json.dumps(answer), flush=True)


def population(supernet: Any, seed: int, prefix: tuple[int, ...], count: int) -> list[Any]:
    """Random candidates behind a prefix."""
    rng = np.random.default_rng(seed)
    return [supernet.space.sample(rng, prefix) for _ in range(count)]


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), quick=sys.argv[3] == "1")
