"""`Voting`: candidates say which validation samples are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raynas.evaluation.scores import Outcomes
from raynas.evaluation.selection import Selection, select_samples
from raynas.evaluation.settings import Sampling
from raynas.population.recovery import RecoverableView
from raynas.population.shard_maps import ShardMaps
from raynas.space import Architecture


class Voting:
    """Selects samples by what candidates say of them; those that were scored last are not again.

    Args:
        maps: score the others.
        standing: the view whose samples are selected from.
        sampling: the mode.
        seed: of what the mode draws.
    """

    def __init__(
        self, maps: ShardMaps, standing: RecoverableView, sampling: Sampling, seed: int
    ) -> None:
        self._maps = maps
        self._standing = standing
        self._sampling = sampling
        self._seed = seed
        self._votes: tuple[tuple[Architecture, ...], Outcomes] | None = None

    def note(self, architectures: Sequence[Architecture], outcomes: Outcomes) -> None:
        """Remember the outcomes of architectures on all samples of the view."""
        if self._sampling == "disagreement":
            self._votes = (tuple(architectures), outcomes)

    def forget(self) -> None:
        """Nobody was scored last, so that what is selected does not depend on what was known."""
        self._votes = None

    def select(
        self,
        rate: float,
        prefix: Architecture,
        reference: Architecture,
        voters: Sequence[Architecture],
    ) -> Selection:
        """Which samples of the view to keep behind a prefix.

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

    def count(self, electorates: Sequence[Outcomes], rate: float) -> Selection:
        """Which samples of the view to keep, by what electorates say of them."""
        rng = np.random.default_rng([self._seed, 0])
        return select_samples(electorates, self._sampling, rate, rng)

    def _ask(self, architectures: Sequence[Architecture]) -> Outcomes:
        """What architectures say of every sample; they are scored unless they were, last."""
        known, scores = self._votes or ((), None)
        wanted = list(architectures)
        if scores is None or not set(wanted) <= set(known):
            return self._standing.run(lambda view: self._maps.outcomes(view, wanted))
        return scores.take([known.index(architecture) for architecture in wanted])
