"""Records of generations as searches write them, made up."""

from __future__ import annotations

from typing import Any


def score(top1: float | None = 0.5, *, finite: bool = True) -> dict[str, Any]:
    """The score of a candidate of two blocks."""
    loss = 1.0 if finite else None
    return {"architecture": [0, 1], "top1": top1, "loss": loss, "finite": finite}


def record(**changes: Any) -> dict[str, Any]:
    """A generation of `generations.jsonl`."""
    return {
        "generation": 2,
        "prefix": [0],
        "frozen": 1,
        "refused": None,
        "finished": None,
        "samples": 300,
        "best": {"architecture": [0, 1], "top1": 0.9125},
        "rescored": [score()],
        "population": [score(), score()],
        **changes,
    }


def timing(**changes: Any) -> dict[str, Any]:
    """The same generation of `metrics.jsonl`."""
    return {
        "generation": 2,
        "seconds": 1.234,
        "freeze_seconds": 0.2,
        "energy_j": None,
        "candidates": 3,
        "known": 0,
        "frozen": 1,
        "block_forwards": 250,
        "block_forwards_alone": 1000,
        "halvings": 0,
        "workers": 0,
        **changes,
    }
