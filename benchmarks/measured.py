"""Outcomes behind frozen prefixes at fewer bits: measured when first asked for, and remembered.

What is stored at 16 bits or fewer depends on every prefix at which it was stored, so there are too
many protocols for a table of all. Searches agree on what they freeze, though, so most of what one
asks for is known from another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from exhaustive import History, Table

import raynas
from raynas.distributed.pool import LocalPool
from raynas.distributed.population import PopulationEvaluator
from raynas.errors import InputError
from raynas.evaluation.scores import ShardScores
from raynas.space import Architecture

KEPT = 4
"""How many evaluators are kept, with the activations that they hold."""


class MeasuredOutcomes:
    """Outcomes from a table while nothing is frozen, and from real evaluations afterwards.

    All samples are measured, whatever selection asks for them: a scale that the samples of a shard
    share is then that of all of them.

    Args:
        table: of the same protocol, at 32 bits.
        supernet: that the table is of.
        data: the splits that it is of.
        settings: the protocol, all samples, with the bits of stored activations.
        path: remembers the outcomes; read if it exists.
    """

    def __init__(
        self,
        table: Table,
        supernet: raynas.ChainSupernet,
        data: raynas.data.SearchData,
        settings: raynas.Evaluation,
        path: Path,
    ) -> None:
        self._table = table
        self._pool = LocalPool(supernet, settings)
        self._data = data
        self._settings = settings
        self._path = path
        self._evaluators: dict[History, PopulationEvaluator] = {}
        self._known: dict[History, dict[Architecture, ShardScores]] = {}
        self.measured = 0
        self._protocol = {**table.protocol, "bits": settings.bits}
        if path.exists():
            self._load()

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> ShardScores:
        """What candidates say of samples that were advanced along a history."""
        if not history:
            return self._table.look_up(history, architectures, samples)
        known = self._known.setdefault(history, {})
        missing = [a for a in dict.fromkeys(architectures) if a not in known]
        if missing:
            self._measure(history, missing)
        rows = [known[architecture] for architecture in architectures]
        return ShardScores(
            np.stack([row.correct[0][samples] for row in rows]),
            np.stack([row.correct_top5[0][samples] for row in rows]),
            np.stack([row.losses[0][samples] for row in rows]),
            np.array([row.finite[0] for row in rows]),
            0,
        )

    def save(self) -> None:
        """Write what is known as one file, at once."""
        entries = [(h, a, row) for h, known in self._known.items() for a, row in known.items()]
        if not entries:
            return
        part = self._path.with_suffix(".part.npz")
        np.savez(
            part,
            protocol=np.array(json.dumps(self._protocol)),
            keys=np.array([json.dumps([h, a]) for h, a, _ in entries]),
            samples=np.array(entries[0][2].correct.shape[1]),
            correct=np.packbits(np.concatenate([row.correct for *_, row in entries]), axis=1),
            correct_top5=np.packbits(
                np.concatenate([row.correct_top5 for *_, row in entries]), axis=1
            ),
            losses=np.concatenate([row.losses for *_, row in entries]),
            finite=np.concatenate([row.finite for *_, row in entries]),
        )
        os.replace(part, self._path)

    def _load(self) -> None:
        with np.load(self._path) as held:
            there = json.loads(str(held["protocol"]))
            if there != json.loads(json.dumps(self._protocol)):
                raise InputError(
                    "measured outcomes",
                    str(self._protocol),
                    f"{there} in {self._path}",
                    "Remove the file to have them measured again.",
                )
            count = int(held["samples"])
            correct = np.unpackbits(held["correct"], axis=1, count=count).astype(bool)
            top5 = np.unpackbits(held["correct_top5"], axis=1, count=count).astype(bool)
            columns: Any = zip(
                held["keys"], correct, top5, held["losses"], held["finite"], strict=True
            )
            for key, bits, bits5, losses, finite in columns:
                prefixes, architecture = json.loads(str(key))
                history = tuple(tuple(prefix) for prefix in prefixes)
                row = ShardScores(bits[None], bits5[None], losses[None], np.array([finite]), 0)
                self._known.setdefault(history, {})[tuple(architecture)] = row

    def _measure(self, history: History, architectures: Sequence[Architecture]) -> None:
        scores = self._evaluator(history, architectures[0]).outcomes(architectures)
        for row, architecture in enumerate(architectures):
            self._known[history][architecture] = scores.take([row])
        self.measured += len(architectures)

    def _evaluator(self, history: History, reference: Architecture) -> PopulationEvaluator:
        if history in self._evaluators:
            self._evaluators[history] = self._evaluators.pop(history)
            return self._evaluators[history]
        evaluator = PopulationEvaluator(
            self._pool,
            self._data.calibration,
            self._data.validation,
            self._settings,
            seed=0,
        )
        for prefix in history:
            evaluator.freeze(prefix, reference)
        self._evaluators[history] = evaluator
        while len(self._evaluators) > KEPT:
            self._evaluators.pop(next(iter(self._evaluators)))
        return evaluator
