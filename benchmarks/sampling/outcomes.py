"""Per-sample outcomes of recorded searches, for every candidate and validation sample.

With them any selection of samples can be judged without evaluating anything. They are kept beside
the searches, one file per generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import raynas
from raynas.evaluation.scores import Outcomes, merge_scores
from raynas.evaluation.selection import Selection
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.score import Score
from raynas.space import Architecture
from raynas.workers.open_pool import open_pool

VALUES = ("top1", "top5")


@dataclass(frozen=True)
class Generation:
    """One generation, scored on all samples.

    Args:
        number: which one.
        prefix: the frozen choices.
        architectures: rescored parents, then the population.
        parents: how many of them are rescored parents.
        outcomes: of all of them on all samples.
    """

    number: int
    prefix: Architecture
    architectures: tuple[Architecture, ...]
    parents: int
    outcomes: Outcomes

    @property
    def top1(self) -> np.ndarray:
        """The full scores."""
        means: np.ndarray = self.outcomes.first.mean(axis=1)
        return means

    @property
    def voters(self) -> Outcomes:
        """The outcomes of the population."""
        return self.outcomes.of_candidates(range(self.parents, len(self.architectures)))

    @property
    def rescored(self) -> Outcomes:
        """The outcomes of the rescored parents."""
        return self.outcomes.of_candidates(range(self.parents))

    def estimate(self, kept: Selection) -> list[Score]:
        """The scores of the candidates on the kept samples only."""
        seen = self.outcomes.on(kept.rows)
        return merge_scores(self.architectures, seen, kept.weights, kept.dropped)


def recorded_outcomes(
    supernet: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    records: Sequence[dict[str, Any]],
    folder: Path,
    *,
    bits: int = 32,
    workers: int | None = None,
) -> list[Generation]:
    """The outcomes of all generations that scored anything, evaluated first where they are missing.

    Args:
        supernet: that was searched.
        images: on which it was searched.
        records: what `generations.jsonl` holds.
        folder: receives one file per generation.
        bits: at which the activations behind the frozen prefix are stored; below 32, only frozen
            generations are evaluated.
        workers: Ray actors; 0 for this process.
    """
    wanted = [r for r in records if members(r) and (bits == 32 or r["prefix"])]
    missing = [r for r in wanted if not path_of(folder, r).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        protocol = raynas.Evaluation(bits=bits)
        with open_pool(supernet, protocol, workers) as pool:
            splits = Splits(images.calibration, images.validation)
            evaluator = PopulationEvaluator(pool, splits, protocol, seed=0)
            for record in wanted[: wanted.index(missing[-1]) + 1]:
                prefix = tuple(record["prefix"])
                if prefix != evaluator.prefix:
                    evaluator.freeze(prefix, members(record)[0])
                if record in missing:
                    save(path_of(folder, record), evaluator.outcomes(members(record)), record)
    return [read(path_of(folder, record), record, exact=bits == 32) for record in wanted]


def members(record: dict[str, Any]) -> tuple[Architecture, ...]:
    """The architectures of a recorded generation, rescored parents first."""
    return tuple(tuple(s["architecture"]) for s in (*record["rescored"], *record["population"]))


def path_of(folder: Path, record: dict[str, Any]) -> Path:
    """The file of one generation."""
    return folder / f"{record['generation']:03d}.npz"


def save(path: Path, outcomes: Outcomes, record: dict[str, Any]) -> None:
    """Write the outcomes of one generation."""
    columns: dict[str, Any] = {
        "losses": outcomes.losses,
        "finite": outcomes.finite,
        **outcomes.values,
    }
    with path.with_suffix(".part").open("wb") as file:
        np.savez_compressed(file, architectures=np.array(members(record)), **columns)
    path.with_suffix(".part").replace(path)


def read(path: Path, record: dict[str, Any], *, exact: bool) -> Generation:
    """Read them back.

    Raises:
        ValueError: they are of other candidates, or where they should be exact, not those of the
            recorded scores.
    """
    with np.load(path) as stored:
        values = {name: stored[name] for name in VALUES}
        outcomes = Outcomes(values, stored["losses"], stored["finite"])
        same = stored["architectures"].tolist() == [list(a) for a in members(record)]
    recorded = [s.get("correct") for s in (*record["rescored"], *record["population"])]
    exact = exact and None not in recorded
    if not same or (exact and outcomes.first.sum(axis=1).tolist() != recorded):
        raise ValueError(f"{path} is not of the recorded search; delete the folder")
    return Generation(
        record["generation"],
        tuple(record["prefix"]),
        members(record),
        len(record["rescored"]),
        outcomes,
    )
