"""`Voting`: candidates say which validation samples are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from raynas.evaluation.importance import importance_record
from raynas.evaluation.scores import Outcomes
from raynas.evaluation.selection import Selection, select_samples
from raynas.evaluation.settings import Sampling
from raynas.population.recovery import RecoverableShards
from raynas.population.shard_maps import ShardMaps
from raynas.space import Architecture


@final
class Voting:
    """Selection of samples by candidates, which are not scored again if they were scored last.

    Args:
        maps: score the others.
        recoverable: the shards whose samples are selected from.
        sampling: the mode.
        seed: of what the mode draws.
    """

    def __init__(
        self, maps: ShardMaps, recoverable: RecoverableShards, sampling: Sampling, seed: int
    ) -> None:
        self._maps = maps
        self._recoverable = recoverable
        self._sampling = sampling
        self._seed = seed
        self._votes: tuple[tuple[Architecture, ...], Outcomes] | None = None
        self._importance: dict[str, Any] | None = None

    @property
    def importance(self) -> dict[str, Any] | None:
        """The record of the last selection's samples; `None` before the first."""
        return self._importance

    def remember(self, architectures: Sequence[Architecture], outcomes: Outcomes) -> None:
        """Remember the outcomes of architectures on all samples of the shards."""
        if self._sampling == "disagreement":
            self._votes = (tuple(architectures), outcomes)

    def forget(self) -> None:
        """Forget who was scored last, so that no selection depends on scores known before."""
        self._votes = None

    def select(
        self,
        rate: float,
        prefix: Architecture,
        reference: Architecture,
        voters: Sequence[Architecture],
    ) -> Selection:
        """Select the samples to keep behind a prefix.

        Args:
            rate: the share of them to keep.
            prefix: divides voters into those with it, and others.
            reference: whose losses count where candidates do not vote, or there are none.
            voters: candidates.
        """
        if self._sampling != "disagreement":
            voters = ()
        behind = [voter for voter in voters if voter[: len(prefix)] == prefix]
        others = [voter for voter in voters if voter[: len(prefix)] != prefix]
        asked = [self._ask(group) for group in (behind, others) if group]
        return self.count(asked or [self._ask([reference])], rate)

    def count(self, groups: Sequence[Outcomes], rate: float) -> Selection:
        """Select the samples to keep by the outcomes of groups of voters."""
        rng = np.random.default_rng([self._seed, 0])
        selection = select_samples(groups, self._sampling, rate, rng)
        self._importance = importance_record(groups, selection)
        return selection

    def _ask(self, architectures: Sequence[Architecture]) -> Outcomes:
        """The outcomes of architectures on every sample, scored now unless they were last."""
        known, scores = self._votes or ((), None)
        wanted = list(architectures)
        if scores is None or not set(wanted) <= set(known):
            return self._recoverable.with_shards(lambda shards: self._maps.outcomes(shards, wanted))
        return scores.of_candidates([known.index(architecture) for architecture in wanted])
