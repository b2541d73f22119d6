"""Exhaustive tables: what every architecture of a small supernet says of every validation sample.

A table holds one row per architecture of the space, in lexicographic order, so that a search, a
choice of samples or a race can be played on it exactly, without computing anything
(`tables.TablePool`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from raynas.supernets.equivalence import Equivalents

import raynas
from raynas.errors import InputError
from raynas.evaluation.scores import Outcomes
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture, SearchSpace
from raynas.supernets.checkpoints import digest
from raynas.workers.open_pool import open_pool

History = tuple[Architecture, ...]
"""The prefixes that samples were advanced to, one after another; empty at the images."""


@dataclass(frozen=True)
class Table:
    """What every architecture of a space says of every validation sample, under one protocol.

    Args:
        space: of k architectures; rows are in lexicographic order.
        correct: `bool[k, n]` whether the label has the largest logit.
        correct_top5: `bool[k, n]` whether it is among the five largest.
        losses: `float32[k, n]` cross-entropy.
        finite: `bool[k]` whether all logits were finite.
        protocol: what determines the rest.
        machine: that it was made on, as `raynas.evaluation.device.machine` describes it.
    """

    space: SearchSpace
    correct: np.ndarray
    correct_top5: np.ndarray
    losses: np.ndarray
    finite: np.ndarray
    protocol: dict[str, Any]
    machine: dict[str, str]

    @property
    def top1(self) -> np.ndarray:
        """`float64[k]`, the share of correct samples."""
        return self.correct.mean(axis=1)

    def row(self, architecture: Architecture) -> int:
        """The row of an architecture."""
        return int(np.ravel_multi_index(architecture, self.space.choices))

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> Outcomes:
        """What candidates say of samples; at 32 bits a frozen prefix changes nothing."""
        rows = np.array([self.row(a) for a in architectures], dtype=np.int64)
        picked = np.ix_(rows, samples)
        return Outcomes(
            self.correct[picked],
            self.values["top5"][picked],
            self.losses[picked],
            self.finite[rows],
            0,
        )

    def save(self, path: Path) -> None:
        """Write the table as one file, at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            protocol=np.array(json.dumps(self.protocol)),
            machine=np.array(json.dumps(self.machine)),
            choices=np.array(self.space.choices),
            samples=np.array(self.correct.shape[1]),
            correct=np.packbits(self.correct, axis=1),
            correct_top5=np.packbits(self.correct_top5, axis=1),
            losses=self.losses,
            finite=self.finite,
        )
        os.replace(part, path)

    @staticmethod
    def load(path: Path, protocol: dict[str, Any]) -> Table:
        """Read a table.

        Raises:
            InputError: it is of another protocol.
        """
        with np.load(path) as held:
            there = json.loads(str(held["protocol"]))
            if there != json.loads(json.dumps(protocol)):
                raise InputError(
                    "table",
                    str(protocol),
                    f"{there} in {path}",
                    "Remove the file to have it rebuilt.",
                )
            count = int(held["samples"])
            return Table(
                SearchSpace(tuple(int(n) for n in held["choices"])),
                np.unpackbits(held["correct"], axis=1, count=count).astype(bool),
                np.unpackbits(held["correct_top5"], axis=1, count=count).astype(bool),
                held["losses"],
                held["finite"],
                there,
                json.loads(str(held["machine"])),
            )


def describe(
    supernet: raynas.ChainSupernet,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
    settings: raynas.Evaluation,
) -> dict[str, Any]:
    """What determines a table: the supernet, how the splits are cut, and the evaluation."""
    kept = asdict(settings)
    default = asdict(raynas.Evaluation(device=settings.device))
    return {
        "supernet": digest(supernet),
        "calibration": [shard.rows for shard in calibration],
        "validation": [shard.rows for shard in validation],
        "threads": settings.threads,
        "batch_norm": settings.batch_norm,
    } | {name: value for name, value in kept.items() if value != default[name]}


def build(
    supernet: raynas.ChainSupernet,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
    settings: raynas.Evaluation,
    *,
    workers: int | None = 0,
    progress: Callable[[int], None] = lambda architectures: None,
) -> Table:
    """Score every architecture through the trie.

    The population is cut by its first two choices, so that the statistics of a part fit in memory;
    the parts share next to nothing.

    Args:
        supernet: trained.
        calibration: depth-0 shards.
        validation: depth-0 shards.
        settings: the evaluation protocol, all samples at 32 bits.
        workers: Ray actors; 0 for this process.
        progress: is told how many architectures have been scored.
    """
    space = supernet.space
    size = (space.count(), sum(shard.rows for shard in validation))
    correct, correct_top5 = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    losses, finite = np.zeros(size, dtype=np.float32), np.zeros(size[0], dtype=bool)
    done = 0
    with open_pool(supernet, settings, workers) as pool:
        evaluator = PopulationEvaluator(pool, calibration, validation, settings, seed=0)
        for part in parts_of(space):
            scores = evaluator.outcomes(part)
            rows = slice(done, done + len(part))
            correct[rows], correct_top5[rows] = scores.correct, scores.correct_top5
            losses[rows], finite[rows] = scores.losses, scores.finite
            done += len(part)
            progress(done)
        machine = pool.machine
    protocol = describe(supernet, calibration, validation, settings)
    return Table(space, correct, correct_top5, losses, finite, protocol, machine)


def all_different(space: SearchSpace) -> Equivalents:
    """No choice stands for another."""
    return tuple(tuple(range(choices)) for choices in space.choices)


def parts_of(space: SearchSpace, depth: int = 2) -> Iterator[list[Architecture]]:
    """All architectures in lexicographic order, cut by their first choices."""
    first = SearchSpace(space.choices[:depth])
    for prefix in first.enumerate():
        yield list(space.enumerate(prefix))


def cut(shards: Sequence[Shard], images: int, shard_size: int) -> list[Shard]:
    """The first images of depth-0 shards, in shards of another size."""
    features = np.concatenate([shard.features for shard in shards])[:images]
    labels = np.concatenate([shard.labels for shard in shards])[:images]
    return make_shards(features, labels, split=shards[0].split, shard_size=shard_size)
