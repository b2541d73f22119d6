"""Per-sample outcomes of recorded searches: what each candidate says of each validation sample.

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
from raynas.evaluation.selection import Selection
from raynas.population.evaluator import PopulationEvaluator
from raynas.score import Outcomes, Score, merge_scores
from raynas.space import Architecture
from raynas.workers.open_pool import open_pool

COLUMNS = ("correct", "correct_top5", "losses", "finite")


@dataclass(frozen=True)
class Generation:
    """One generation, scored on all samples.

    Args:
        number: which one.
        prefix: the frozen choices.
        architectures: rescored parents, then the population.
        parents: how many of them are rescored parents.
        scores: what they say of all samples.
    """

    number: int
    prefix: Architecture
    architectures: tuple[Architecture, ...]
    parents: int
    scores: Outcomes

    @property
    def top1(self) -> np.ndarray:
        """The full scores."""
        return self.scores.correct.mean(axis=1)

    @property
    def voters(self) -> Outcomes:
        """The outcomes of the population."""
        return self.scores.of_candidates(range(self.parents, len(self.architectures)))

    @property
    def rescored(self) -> Outcomes:
        """The outcomes of the rescored parents."""
        return self.scores.of_candidates(range(self.parents))

    def estimate(self, kept: Selection) -> list[Score]:
        """The scores of the candidates on the kept samples only."""
        every, rows = self.scores, kept.rows
        seen = Outcomes(
            every.correct[:, rows],
            every.values["top5"][:, rows],
            every.losses[:, rows],
            every.finite,
            0,
        )
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
            evaluator = PopulationEvaluator(
                pool, images.calibration, images.validation, protocol, seed=0
            )
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


def save(path: Path, scores: Outcomes, record: dict[str, Any]) -> None:
    """Write the outcomes of one generation."""
    columns = {name: getattr(scores, name) for name in COLUMNS}
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
        scores = Outcomes(**{name: stored[name] for name in COLUMNS}, block_forwards=0)
        same = stored["architectures"].tolist() == [list(a) for a in members(record)]
    recorded = [s.get("correct") for s in (*record["rescored"], *record["population"])]
    exact = exact and None not in recorded
    if not same or (exact and scores.correct.sum(axis=1).tolist() != recorded):
        raise ValueError(f"{path} is not of the recorded search; delete the folder")
    return Generation(
        record["generation"],
        tuple(record["prefix"]),
        members(record),
        len(record["rescored"]),
        scores,
    )
