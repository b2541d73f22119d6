"""Racing, simulated: score in waves of samples, drop candidates that cannot reach the Top-K.

A candidate is dropped after a wave once K others are better than it, each by an exact one-sided
McNemar test on the samples that both have been scored on: of the samples that only one of the two
gets right, too many are the other's. Were the candidate among the true Top-K, one of these K would
not be better than it. The error probability of a generation is divided by the tests that a
candidate can undergo (Bonferroni), which holds for samples in random order; those of a split are
shuffled. The incumbents, which are the best known under the same protocol, race too, at no cost.
Everything depends on outcomes only, so a race is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from exhaustive import Table
from scipy import stats
from tables import Outcomes, Samples, TablePool

from raynas.distributed.pool import Call
from raynas.evaluation.scores import ShardScores
from raynas.space import Architecture


@dataclass(frozen=True)
class Race:
    """How candidates race.

    Args:
        top_k: a candidate is dropped once so many others are better.
        error: the probability that a generation loses one of its true Top-K, at most.
        waves: into how many waves the shards are cut.
        behind_prefix_only: whether generations from the images on are scored in full, which the
            selection of samples needs.
    """

    top_k: int
    error: float = 0.05
    waves: int = 8
    behind_prefix_only: bool = False


def cannot_reach(rivals: np.ndarray, candidates: np.ndarray, race: Race) -> np.ndarray:
    """Which candidates have at least `top_k` rivals that are better than they.

    Args:
        rivals: `bool[r, m]` correct bits; the candidates may be among them.
        candidates: `bool[k, m]` correct bits on the same samples.
        race: the settings.

    Returns:
        `bool[k]`.
    """
    right, wrong = rivals.astype(np.float32), 1.0 - rivals.astype(np.float32)
    ahead = right @ (1.0 - candidates.astype(np.float32)).T
    behind = wrong @ candidates.astype(np.float32).T
    tests = max(1, (race.waves - 1) * len(rivals) * len(candidates))
    p_values = stats.binom.sf(ahead - 1, ahead + behind, 0.5)
    better = (p_values <= race.error / tests).sum(axis=0)
    return better >= race.top_k


class RacingPool(TablePool):
    """A table pool whose `score` calls race, but for those that choose the winner.

    Args:
        outcomes: the answers under the protocol that candidates are ranked under.
        exact: the answers under the full protocol.
        race: the settings.
        sharing: whether workers share the prefixes of a population.
    """

    def __init__(
        self, outcomes: Outcomes, exact: Table, race: Race, *, sharing: bool = True
    ) -> None:
        super().__init__(outcomes, exact, sharing=sharing)
        self.race = race
        self.pairs = 0
        self.raced_pairs = 0
        self._protocol: tuple[Any, ...] = ()
        self._incumbents: dict[Architecture, np.ndarray] = {}

    def run(self, method: str, calls: Sequence[Call], *, keep: bool = False) -> list[Any]:
        """Answer the calls; those that score one population race through their shards."""
        if method != "score" or not calls:
            return super().run(method, calls, keep=keep)
        shards, architectures = [call[0] for call in calls], calls[0][1]
        exact = calls[0][3:] == (True,)
        if exact or (self.race.behind_prefix_only and not shards[0].history):
            return super().run(method, calls, keep=keep)
        if any(call[1] != architectures for call in calls):
            raise ValueError("a race needs whole populations: one part per shard")
        return self._run_race(shards, architectures)

    def _run_race(
        self, shards: Sequence[Samples], architectures: Sequence[Architecture]
    ) -> list[ShardScores]:
        self._follow(shards)
        alive = np.ones(len(architectures), dtype=bool)
        results: list[ShardScores] = []
        waves = np.array_split(np.arange(len(shards)), min(self.race.waves, len(shards)))
        for number, wave in enumerate(waves):
            results += [self._score_alive(shards[i], architectures, alive) for i in wave]
            if number + 1 < len(waves):
                alive = self._survivors(architectures, results, alive)
        seen = np.concatenate([result.correct for result in results], axis=1)
        for index in np.flatnonzero(alive).tolist():
            self._incumbents[architectures[index]] = seen[index]
        best = sorted(self._incumbents, key=lambda a: -int(self._incumbents[a].sum()))
        self._incumbents = {a: self._incumbents[a] for a in best[: self.race.top_k]}
        return results

    def _follow(self, shards: Sequence[Samples]) -> None:
        """Forget the incumbents of another protocol."""
        protocol = tuple((shard.history, shard.ids.tobytes()) for shard in shards)
        if protocol != self._protocol:
            self._protocol, self._incumbents = protocol, {}

    def _score_alive(
        self, shard: Samples, architectures: Sequence[Architecture], alive: np.ndarray
    ) -> ShardScores:
        """Outcomes of the living; the others get everything wrong, at an infinite loss."""
        living = [architectures[index] for index in np.flatnonzero(alive).tolist()]
        self.pairs += len(architectures) * len(shard.ids)
        self.raced_pairs += len(living) * len(shard.ids)
        size = (len(architectures), len(shard.ids))
        correct, top5 = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        losses, finite = np.full(size, np.inf, dtype=np.float32), np.ones(size[0], dtype=bool)
        if not living:
            return ShardScores(correct, top5, losses, finite, 0)
        known = self.score(shard, living, None)
        correct[alive], top5[alive] = known.correct, known.correct_top5
        losses[alive], finite[alive] = known.losses, known.finite
        return ShardScores(correct, top5, losses, finite, known.block_forwards)

    def _survivors(
        self, architectures: Sequence[Architecture], results: list[ShardScores], alive: np.ndarray
    ) -> np.ndarray:
        seen = np.concatenate([result.correct for result in results], axis=1)
        others = [
            bits[: seen.shape[1]]
            for known, bits in self._incumbents.items()
            if known not in architectures
        ]
        rivals = np.concatenate([np.array(others).reshape(-1, seen.shape[1]), seen[alive]])
        survivors = alive.copy()
        survivors[alive] = ~cannot_reach(rivals, seen[alive], self.race)
        return survivors
