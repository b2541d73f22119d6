"""Exhaustive tables: the outcome of every architecture of a small space on every sample.

With one, searches, selections of samples and strategies are judged against the truth, and a search
takes milliseconds: `TableEvaluator` scores candidates by looking them up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np

import raynas
from raynas.errors import InputError, require
from raynas.evaluation.scores import Outcomes, merge_scores
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.population.interface import CandidateEvaluator, Counters
from raynas.score import Score
from raynas.space import Architecture, SearchSpace
from raynas.supernets.identity import digest
from raynas.workers.open_pool import open_pool


@final
@dataclass(frozen=True)
class Table:
    """The outcomes of every architecture of a space on the same samples, under one protocol.

    Args:
        space: of k architectures.
        outcomes: of all of them on n samples, in lexicographic order.
        description: everything that determines them; a JSON object.
        machine: that they were made on, as `raynas.evaluation.device.machine` describes it.
    """

    space: SearchSpace
    outcomes: Outcomes = field(repr=False)
    description: dict[str, Any]
    machine: dict[str, str]

    @property
    def values(self) -> np.ndarray:
        """The means of the first objective, such as top-1, `float64[k]`."""
        means: np.ndarray = self.outcomes.first.mean(axis=1, dtype=np.float64)
        return means

    def row(self, architecture: Architecture) -> int:
        """The row of an architecture."""
        return int(np.ravel_multi_index(architecture, self.space.choices))

    def look_up(self, architectures: Sequence[Architecture]) -> Outcomes:
        """The outcomes of some architectures on all samples."""
        return self.outcomes.of_candidates([self.row(each) for each in architectures])

    def scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        """The scores of some architectures on all samples.

        Raises:
            InputError: an architecture that the space does not have.
        """
        wanted = [self.space.validate(each) for each in architectures]
        samples = self.outcomes.losses.shape[1]
        return merge_scores(wanted, self.look_up(wanted), np.ones(samples)) if wanted else []

    def save(self, path: Path) -> None:
        """Write the table as one file, at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        values = self.outcomes.values
        bits = {name: each.dtype == bool for name, each in values.items()}
        arrays: dict[str, Any] = {
            f"value {name}": np.packbits(each, axis=1) if bits[name] else each
            for name, each in values.items()
        }
        np.savez(
            part,
            description=np.array(json.dumps(self.description)),
            machine=np.array(json.dumps(self.machine)),
            bits=np.array(json.dumps(bits)),
            choices=np.array(self.space.choices),
            losses=self.outcomes.losses,
            finite=self.outcomes.finite,
            **arrays,
        )
        os.replace(part, path)

    @staticmethod
    def load(path: Path, description: dict[str, Any]) -> Table:
        """Read a table.

        Raises:
            InputError: it has another description.
        """
        with np.load(path) as held:
            there = json.loads(str(held["description"]))
            if there != json.loads(json.dumps(description)):
                raise InputError(
                    "table",
                    str(description),
                    f"{there} in {path}",
                    "Remove the file to have it rebuilt.",
                )
            losses = held["losses"]
            count = losses.shape[1]
            values = {
                name: np.unpackbits(held[f"value {name}"], axis=1, count=count).astype(bool)
                if packed
                else held[f"value {name}"]
                for name, packed in json.loads(str(held["bits"])).items()
            }
            return Table(
                SearchSpace(tuple(int(n) for n in held["choices"])),
                Outcomes(values, losses, held["finite"]),
                there,
                json.loads(str(held["machine"])),
            )


@final
class TableEvaluator(CandidateEvaluator):
    """Scores candidates from a table, for `raynas.search_with`.

    Args:
        table: of the space that is searched.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._known = 0

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Look the candidates up."""
        self._known += len(architectures)
        return self.table.scores(architectures)

    @property
    def counters(self) -> Counters:
        """The number of scores that were looked up, and of the samples behind each."""
        return Counters(samples=self.table.outcomes.losses.shape[1], known=self._known)


def describe_table(
    supernet: raynas.ChainSupernet, data: raynas.data.SearchData, settings: raynas.Evaluation
) -> dict[str, Any]:
    """Everything that determines a table: supernet, sizes of shards, and evaluation."""
    kept = asdict(settings)
    default = asdict(raynas.Evaluation(device=settings.device))
    return {
        "supernet": digest(supernet),
        "data": data.name,
        "calibration": [shard.rows for shard in data.calibration],
        "validation": [shard.rows for shard in data.validation],
        "threads": settings.threads,
        "batch_norm": settings.batch_norm,
    } | {name: value for name, value in kept.items() if value != default[name]}


def build_table(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.Evaluation,
    *,
    workers: int | None = 0,
    progress: Callable[[int], None] = lambda architectures: None,
) -> Table:
    """Score every architecture of a small space.

    The population is cut by its first two choices, so that the statistics of a part fit in memory;
    the parts share next to nothing.

    Args:
        supernet: trained.
        data: its calibration and validation splits.
        settings: the evaluation protocol, with all samples at 32 bits.
        workers: Ray actors; 0 for this process.
        progress: is told how many architectures have been scored.

    Raises:
        InputError: a protocol that selects or quantizes, which a table cannot hold.
    """
    default = raynas.Evaluation()
    for name in ("sample_rate", "unfrozen_sample_rate", "bits"):
        chosen, whole = getattr(settings, name), getattr(default, name)
        require(chosen == whole, name, f"{whole}, all samples as they are", chosen, "Leave it out.")
    parts: list[Outcomes] = []
    done = 0
    with open_pool(supernet, settings, workers) as pool:
        splits = Splits(data.calibration, data.validation)
        evaluator = PopulationEvaluator(pool, splits, pool.settings.evaluation, seed=0)
        for part in parts_of(supernet.space):
            parts.append(replace(evaluator.outcomes(part), block_forwards=0, halvings=0))
            done += len(part)
            progress(done)
        machine = pool.machine
    description = describe_table(supernet, data, settings)
    return Table(supernet.space, join_rows(parts), description, machine)


def parts_of(space: SearchSpace, depth: int = 2) -> Iterator[list[Architecture]]:
    """All architectures in lexicographic order, cut by their first choices."""
    for prefix in SearchSpace(space.choices[:depth]).enumerate():
        yield list(space.enumerate(prefix))


def join_rows(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of all candidates of the parts on the same samples, one part after another."""
    return Outcomes(
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.finite for part in parts]),
    )
