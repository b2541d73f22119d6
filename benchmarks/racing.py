"""Racing, simulated: score in waves of samples, drop candidates that cannot reach the Top-K.

After each wave candidates are compared in pairs, on the samples that both have been scored on. Of
the samples that only one of the two gets right, d in all, a rival's lead is how many more are its
own. If the two ended level on all n samples, the lead on a random m of them would be nearly normal
with mean 0 and variance d(1 - m/n): samples are drawn without replacement, and a lead that the
remaining ones cannot make good is certain. A candidate is dropped once `top_k` rivals lead it by
more than chance allows. Were it among the true Top-K, one of these would not end ahead of it, so
an error of a generation is an error of a test, and its probability is divided by their number
(Bonferroni). Rivals are the candidates still in the race, and the incumbents, which are the best
known under the same protocol and race at no cost. Everything depends on outcomes only, so a race is
deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from exhaustive import Table
from scipy import stats
from tables import Outcomes, Samples, TablePool, in_full

from raynas.evaluation.device.numerics import Arithmetic
from raynas.evaluation.scores import ShardScores
from raynas.space import Architecture
from raynas.workers.calls import Call


@dataclass(frozen=True)
class Race:
    """How candidates race.

    Args:
        error: the probability that a generation loses one of its true Top-K, at most.
        corrected: whether it is divided by the number of tests; else it is that of each test.
        waves: into how many waves the shards are cut.
    """

    error: float = 0.05
    corrected: bool = True
    waves: int = 8


def cannot_reach(
    rivals: np.ndarray, candidates: np.ndarray, samples: int, top_k: int, race: Race
) -> np.ndarray:
    """Which candidates have at least `top_k` rivals that lead them by more than chance allows.

    Args:
        rivals: `bool[r, m]` correct bits; the candidates may be among them.
        candidates: `bool[k, m]` correct bits on the same samples.
        samples: n, how many there will be in the end, more than m.
        top_k: how many are to be found.
        race: the settings.

    Returns:
        `bool[k]`.
    """
    right, good = rivals.astype(np.float64), candidates.astype(np.float64)
    ahead, behind = right @ (1.0 - good).T, (1.0 - right) @ good.T
    remaining = 1.0 - rivals.shape[1] / samples
    deviation = np.sqrt(np.maximum(ahead + behind, 1.0) * remaining)
    # A lead is a whole number, so half a sample of it may be due to the normal approximation.
    p_values = stats.norm.sf((ahead - behind - 0.5) / deviation)
    tests = (race.waves - 1) * len(rivals) * len(candidates) if race.corrected else 1
    return (p_values <= race.error / max(tests, 1)).sum(axis=0) >= top_k


class RacingPool(TablePool):
    """A table pool whose `score` calls race, but for those that choose the winner.

    Args:
        outcomes: the answers under the protocol that candidates are ranked under.
        exact: the answers under the full protocol.
        race: the settings.
        top_k: a candidate is dropped once so many others are better.
        behind_prefix_only: whether generations from the images on are scored in full, which the
            selection of samples needs.
        sharing: whether workers share the prefixes of a population.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        exact: Table,
        race: Race,
        top_k: int,
        *,
        behind_prefix_only: bool = False,
        sharing: bool = True,
    ) -> None:
        super().__init__(outcomes, exact, sharing=sharing)
        self.race = race
        self.top_k = top_k
        self.behind_prefix_only = behind_prefix_only
        self.pairs = 0
        self.raced_pairs = 0
        self._protocol: tuple[Any, ...] = ()
        self._incumbents: dict[Architecture, np.ndarray] = {}

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Answer the calls; those that score one population race through their shards."""
        if not calls or calls[0].name != "score":
            return super().run(calls, keep=keep)
        arguments = [call.arguments() for call in calls]
        shards, (_, architectures, _, arithmetic) = [each[0] for each in arguments], arguments[0]
        if in_full(shards[0], arithmetic) or (self.behind_prefix_only and not shards[0].history):
            return super().run(calls, keep=keep)
        if any(each[1] != architectures for each in arguments):
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
                alive = self._survivors(shards, architectures, results, alive)
        seen = np.concatenate([result.correct for result in results], axis=1)
        for index in np.flatnonzero(alive).tolist():
            self._incumbents[architectures[index]] = seen[index]
        best = sorted(self._incumbents, key=lambda a: -int(self._incumbents[a].sum()))
        self._incumbents = {a: self._incumbents[a] for a in best[: self.top_k]}
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
        known = self.score(shard, living, None, Arithmetic("bfloat16"))
        correct[alive], top5[alive] = known.correct, known.correct_top5
        losses[alive], finite[alive] = known.losses, known.finite
        return ShardScores(correct, top5, losses, finite, known.block_forwards)

    def _survivors(
        self,
        shards: Sequence[Samples],
        architectures: Sequence[Architecture],
        results: list[ShardScores],
        alive: np.ndarray,
    ) -> np.ndarray:
        seen = np.concatenate([result.correct for result in results], axis=1)
        others = [
            bits[: seen.shape[1]]
            for known, bits in self._incumbents.items()
            if known not in architectures
        ]
        rivals = np.concatenate([np.array(others).reshape(-1, seen.shape[1]), seen[alive]])
        survivors = alive.copy()
        samples = sum(len(shard.ids) for shard in shards)
        survivors[alive] = ~cannot_reach(rivals, seen[alive], samples, self.top_k, self.race)
        return survivors
