"""Outcomes behind frozen prefixes at fewer bits: measured when first asked for, and remembered.

What is stored at 16 bits or fewer depends on every prefix at which it was stored, so there are too
many protocols for a table of all. Searches agree on much of what they freeze, though. When one
freezes what none has frozen before, all that can follow is measured at once: through the trie that
costs hardly more than a few generations do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from table_pool import History

import raynas
from raynas.evaluation.scores import Outcomes
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.space import Architecture, SearchSpace
from raynas.testing.tables import Table
from raynas.workers.pool import LocalPool


class MeasuredOutcomes:
    """Outcomes from a table while nothing is frozen, and from real evaluations afterwards.

    All samples are measured, whatever selection asks for them: scales that the samples of a shard
    share are then those of the whole split's shards.

    Args:
        table: of the same protocol, at 32 bits.
        supernet: that the table is of.
        data: the splits that it is of.
        settings: the protocol, all samples, with the bits of stored activations.
        folder: remembers the outcomes, one file for each history.

    Raises:
        InputError: a file in the folder is of another protocol.
    """

    def __init__(
        self,
        table: Table,
        supernet: raynas.ChainSupernet,
        data: raynas.data.SearchData,
        settings: raynas.Evaluation,
        folder: Path,
    ) -> None:
        self._table = table
        self._supernet = supernet
        self._data = data
        self._settings = settings
        self._folder = folder
        self._known: dict[History, Table] = {}
        self.measured = 0

    def look_up(
        self, history: History, architectures: Sequence[Architecture], samples: np.ndarray
    ) -> Outcomes:
        """The outcomes of candidates on samples that were advanced along a history."""
        if not history:
            return self._table.look_up(architectures).on(samples)
        if history not in self._known:
            self._known[history] = self._recall(history)
        depth = len(history[-1])
        behind = [architecture[depth:] for architecture in architectures]
        return self._known[history].look_up(behind).on(samples)

    def _recall(self, history: History) -> Table:
        """The outcomes of every architecture behind the last prefix, read or measured."""
        name = "_".join("".join(map(str, prefix)) for prefix in history)
        path = self._folder / f"{name}.npz"
        description = {
            **self._table.description,
            "bits": self._settings.bits,
            "history": [list(prefix) for prefix in history],
        }
        if path.exists():
            return Table.load(path, description)
        rest = SearchSpace(self._table.space.choices[len(history[-1]) :])
        known = Table(rest, self._measure(history), description, self._table.machine)
        known.save(path)
        return known

    def _measure(self, history: History) -> Outcomes:
        """The outcomes of every architecture that starts with the last prefix, on all samples."""
        candidates = list(self._table.space.enumerate(history[-1]))
        pool = LocalPool(self._supernet, self._settings)
        splits = Splits(self._data.calibration, self._data.validation)
        evaluator = PopulationEvaluator(pool, splits, self._settings, seed=0)
        for prefix in history:
            evaluator.freeze(prefix, candidates[0])
        self.measured += len(candidates)
        return evaluator.outcomes(candidates)
