"""Outcomes behind frozen prefixes at fewer bits: measured when first asked for, and remembered.

What is stored at 16 bits or fewer depends on every prefix at which it was stored, so there are too
many protocols for a table of all. Searches agree on much of what they freeze, though. When one
freezes what none has frozen before, all that can follow is measured at once: through the trie that
costs hardly more than a few generations do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from exhaustive import History, Table

import raynas
from raynas.errors import InputError
from raynas.evaluation.scores import Outcomes
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture
from raynas.workers.pool import LocalPool

COLUMNS = ("correct", "correct_top5", "losses", "finite")


class MeasuredOutcomes:
    """Outcomes from a table while nothing is frozen, and from real evaluations afterwards.

    All samples are measured, whatever selection asks for them: scales that the samples of a shard
    share are then those of the whole split's shards.

    Args:
        table: of the same protocol, at 32 bits.
        supernet: that the table is of.
        data: the splits that it is of.
        settings: the protocol, all samples, with the bits of stored activations.
        path: remembers the outcomes; read if it exists.

    Raises:
        InputError: the file is of another protocol.
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
        self._supernet = supernet
        self._data = data
        self._settings = settings
        self._path = path
        self._known: dict[History, Outcomes] = {}
        self._protocol = json.dumps({**table.protocol, "bits": settings.bits})
        self.measured = 0
        if path.exists():
            self._load()

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> Outcomes:
        """What candidates say of samples that were advanced along a history."""
        if not history:
            return self._table.look_up(history, architectures, samples)
        if history not in self._known:
            self._known[history] = self._measure(history)
        known, first = self._known[history], self._first_row(history)
        rows = [self._table.row(architecture) - first for architecture in architectures]
        picked = np.ix_(np.array(rows, dtype=np.int64), samples)
        return Outcomes(
            known.correct[picked],
            known.values["top5"][picked],
            known.losses[picked],
            known.finite[rows],
            0,
        )

    def save(self) -> None:
        """Write what is known as one file, at once."""
        part = self._path.with_suffix(".part.npz")
        histories = list(self._known)
        arrays = {
            f"{name}{index}": getattr(self._known[history], name)
            for index, history in enumerate(histories)
            for name in COLUMNS
        }
        np.savez_compressed(
            part,
            protocol=np.array(self._protocol),
            histories=np.array(json.dumps(histories)),
            **arrays,
        )
        os.replace(part, self._path)

    def _load(self) -> None:
        with np.load(self._path) as held:
            there = str(held["protocol"])
            if there != self._protocol:
                raise InputError(
                    "measured outcomes",
                    self._protocol,
                    f"{there} in {self._path}",
                    "Remove the file to have them measured again.",
                )
            for index, prefixes in enumerate(json.loads(str(held["histories"]))):
                history = tuple(tuple(prefix) for prefix in prefixes)
                columns = {name: held[f"{name}{index}"] for name in COLUMNS}
                self._known[history] = Outcomes(**columns, block_forwards=0)

    def _measure(self, history: History) -> Outcomes:
        """What every architecture that starts with the last prefix says of all samples."""
        candidates = list(self._table.space.enumerate(history[-1]))
        evaluator = PopulationEvaluator(
            LocalPool(self._supernet, self._settings),
            self._data.calibration,
            self._data.validation,
            self._settings,
            seed=0,
        )
        for prefix in history:
            evaluator.freeze(prefix, candidates[0])
        self.measured += len(candidates)
        return evaluator.outcomes(candidates)

    def _first_row(self, history: History) -> int:
        """The row, in the table, of the first architecture that starts with the last prefix."""
        prefix = history[-1]
        return self._table.row((*prefix, *(0,) * (self._table.space.blocks - len(prefix))))
