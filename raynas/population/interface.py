"""`CandidateEvaluator`: the few things that a search asks of the scorer of its populations.

A strategy's loop speaks it, and so may a path filter of a training, a table of known scores, or a
user's own scorer::

    class Table(CandidateEvaluator):
        def score(self, architectures):
            return [Score(each, {"top1": known[each]}, loss=0.0) for each in architectures]
        …

    raynas.search_with(Table(), problem, strategy=…, run_dir=…)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from raynas.evolution.strategy import Proposal, State
from raynas.metering.sampler import Snapshot
from raynas.score import Score
from raynas.space import Architecture


@final
@dataclass(frozen=True)
class Counters:
    """Running totals of an evaluator, and how it scores at present.

    Args:
        samples: validation samples that a candidate is scored on.
        selection: a digest of them; `None` for all.
        block_forwards: blocks executed so far, times samples.
        block_forwards_alone: as many as that would have been, had each candidate been evaluated by
            itself from the inputs on; 0 where nobody counts them.
        halvings: batches that were halved so far because they did not fit in memory.
        known: scores so far that were known already: from a ledger, or from earlier in this search.
        workers: processes that evaluate; 0 for the driver's own.
        gpus: GPUs that they hold.
        busy: seconds that they have been busy so far, by operation; `None` if nobody counts them.
        importance: the record of the samples that were last selected from
            (`raynas.evaluation.importance`); `None` before a selection.
    """

    samples: int = 0
    selection: str | None = None
    block_forwards: int = 0
    block_forwards_alone: int = 0
    halvings: int = 0
    known: int = 0
    workers: int = 0
    gpus: int = 0
    busy: Mapping[str, float] | None = None
    importance: Mapping[str, Any] | None = field(default=None, hash=False)


class CandidateEvaluator(ABC):
    """A scorer of populations for a search.

    Scores of one call are comparable with each other, and with those of other calls until the next
    proposal with another prefix is followed.
    """

    @abstractmethod
    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Score candidates of full length, in the order given, as a search ranks them."""

    def follow(self, proposal: Proposal, state: State) -> None:  # noqa: B027 (not all need to)
        """Get ready to score a proposal: freeze its prefix, select samples; nothing by default.

        Called once before the candidates of each generation are scored, and again in the same
        order when recorded generations are read back.

        Args:
            proposal: of the next generation; its rescored and new candidates are scored next.
            state: that it was proposed from.
        """

    def score_again(self, architectures: Sequence[Architecture]) -> list[Score]:
        """As `score`, without looking anything up; as `score` does by default."""
        return self.score(architectures)

    @property
    def tolerance(self) -> float:
        """The relative difference of a score on another machine that rounding explains."""
        return 1e-6

    def score_in_full(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Score finalists as exactly as can be; as `score` does by default."""
        return self.score(architectures)

    def test(self, architecture: Architecture) -> Score | None:
        """Score the winner once on held-out samples; `None` by default, where there are none."""
        return None

    @property
    def test_digest(self) -> str | None:
        """A text that changes with the samples that `test` has scored on; `None` by default."""
        return None

    @property
    def counters(self) -> Counters:
        """Running totals; all zero by default."""
        return Counters()

    def read_meters(self) -> Sequence[Snapshot]:
        """The energy that workers have seen used on their machines so far, one of each.

        Nothing by default: a search sees the processors of the machine that it runs on by itself.
        """
        return ()
