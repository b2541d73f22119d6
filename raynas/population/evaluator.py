"""`PopulationEvaluator`: scores of a generation, freezes, and what is known already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from raynas.errors import require
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.scores import Outcomes, merge_scores
from raynas.evaluation.selection import kept_samples
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Proposal, State
from raynas.files import Record
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry
from raynas.ledger.score_key import ScoreKey, evaluation_of, in_full
from raynas.metering.sampler import Snapshot
from raynas.population.evaluated import Known, Splits, entries_of
from raynas.population.frozen_shards import (
    FrozenShards,
    first_images,
    put_split,
    require_batches,
    require_longer,
)
from raynas.population.interface import CandidateEvaluator, Counters
from raynas.population.recovery import RecoverableShards
from raynas.population.shard_maps import ShardMaps
from raynas.population.voting import Voting
from raynas.score import Score
from raynas.shards.shard import ShardDigest
from raynas.space import Architecture, starting_with
from raynas.workers.call_progress import CallObserver
from raynas.workers.pool import Pool, Publisher


@final
class PopulationEvaluator(CandidateEvaluator):
    """Scores populations on shards that live in the pool's store, each candidate at most once.

    Args:
        pool: the workers.
        splits: the shards.
        settings: the evaluation protocol.
        seed: of the sampling.
        known: scores that need not be evaluated.

    Raises:
        InputError: recalibration without calibration shards, or with a shard of one sample.
        WorkerCrashError: no worker could be started.
    """

    def __init__(
        self,
        pool: Pool,
        splits: Splits,
        settings: Evaluation,
        seed: int,
        known: Known | None = None,
    ) -> None:
        self._pool = pool
        self._maps = ShardMaps(pool, settings)
        self._known = known or Known()
        self._ledger = Ledger() if self._known.ledger is None else self._known.ledger
        self._digest = ShardDigest()
        self._settings = settings
        self._splits = splits
        self._served = 0
        self._test_digest: str | None = None
        read = splits.adding_to(self._digest)
        recalibrates = settings.batch_norm == "recalibrate"
        everything = put_split(pool, splits.calibration if recalibrates else (), read)
        if recalibrates:
            require_batches(everything.rows)
        validation = put_split(pool, splits.validation, read)
        self._full = FrozenShards((), everything, validation, settings.full_arithmetic, True)
        few = first_images(everything, settings.calibration_images)
        start = replace(self._full, calibration=few, arithmetic=settings.arithmetic, full=False)
        self._recoverable = RecoverableShards(start)
        self._voting = Voting(self._maps, self._recoverable, settings.sampling, seed)
        pool.wait()

    @property
    def _shards(self) -> FrozenShards:
        return self._recoverable.current

    @property
    def prefix(self) -> Architecture:
        """The frozen choices that the shards are behind."""
        return self._shards.prefix

    @property
    def data_digest(self) -> str:
        """The digest of all shards that were read: calibration, if it is used, and validation."""
        return self._digest.hexdigest()

    @property
    def test_digest(self) -> str | None:
        """The digest of the held-out shards that `test` has read; `None` if it has read none."""
        return self._test_digest

    @property
    def device(self) -> str:
        """The kind of device that candidates are evaluated on, `"cpu"` or `"cuda"`."""
        return self._pool.device

    @property
    def tolerance(self) -> float:
        """The relative difference of a score on another machine that rounding explains."""
        exact = self._settings.precision == "float32" and self._settings.bits == 32
        return 1e-5 if exact else 1e-2

    @property
    def counters(self) -> Counters:
        """Running totals, and how candidates are scored at present."""
        return Counters(
            samples=sum(self._shards.validation.rows),
            selection=self._shards.selection,
            block_forwards=self._maps.block_forwards,
            block_forwards_alone=self._maps.block_forwards_alone,
            halvings=self._maps.halvings,
            known=self._served,
            workers=self._pool.workers,
            gpus=self._pool.gpus,
            busy=self._pool.busy,
            importance=self._voting.importance,
        )

    def read_meters(self) -> list[Snapshot]:
        """See `Pool.read_meters`."""
        return self._pool.read_meters()

    def watch(self, observer: CallObserver | None) -> None:
        """Tell an observer of the workers' calls from now on."""
        self._maps.observer = observer

    def publish(self, run: str, record: Record, metrics: Record) -> None:
        """Show a generation as the pool's workers show theirs, if they do; see `Publisher`."""
        if isinstance(self._pool, Publisher):
            self._pool.publish(run, record, metrics)

    def follow(self, proposal: Proposal, state: State) -> None:
        """Advance the shards to the proposal's prefix, if anything is evaluated behind it.

        The parents behind it and the last generation vote on the samples to keep; before any
        freeze, the first candidates of the first generation may.
        """
        wanted = (*proposal.rescored, *proposal.population)
        if proposal.prefix != self.prefix and wanted:
            self.freeze(proposal.prefix, wanted[0], (*proposal.rescored, *state.population))
        if state.generation == 0:
            self.vote_first(wanted)

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Score candidates behind the current prefix, under the current selection of samples.

        Args:
            architectures: of full length, all starting with the prefix.

        Returns:
            One score per architecture, in the order given.

        Raises:
            InputError: an architecture that the supernet does not have, or with another prefix, or
                a ledger that cannot be used, or that has another score of one of them.
        """
        self._voting.forget()
        return self._recoverable.with_shards(lambda shards: self._score(shards, architectures))

    def score_again(self, architectures: Sequence[Architecture]) -> list[Score]:
        """As `score`, but evaluate all of them, and leave the ledger alone."""
        wanted = [starting_with(self.prefix, each) for each in architectures]
        entries = self._recoverable.with_shards(lambda shards: self._evaluate(shards, wanted))
        return [entry.score for entry in entries]

    def score_in_full(self, architectures: Sequence[Architecture]) -> list[Score]:
        """As `score`, under the full protocol: all samples, from the inputs on, in float32."""
        return self._score(self._full, architectures)

    def test(self, architecture: Architecture) -> Score | None:
        """Score one architecture on the held-out shards; `None` if there are none."""
        if len(self._splits.test) == 0:
            return None
        total = ShardDigest()
        shards = self._splits.tested(total)
        whole, weights = self._maps.score_inputs(self._full, tuple(architecture), shards)
        self._test_digest = total.hexdigest()
        return merge_scores([architecture], whole, weights)[0]

    def outcomes(self, architectures: Sequence[Architecture]) -> Outcomes:
        """The outcomes of candidates on each sample that `score` scores them on, in their order.

        Args:
            architectures: as those of `score`, which raises for others, too.
        """
        wanted = [starting_with(self.prefix, each) for each in architectures]
        return self._recoverable.with_shards(lambda shards: self._maps.outcomes(shards, wanted))

    def statistics(self, architecture: Architecture) -> Statistics:
        """Merged batch-norm statistics of all nodes of one architecture; they are recalibrated."""
        statistics = self._maps.statistics_of(self._full, tuple(architecture))
        assert not isinstance(statistics, str)
        return statistics

    def vote_first(self, architectures: Sequence[Architecture]) -> None:
        """Let a search's first generation choose the samples that are kept before any freeze.

        Under `unfrozen_sample_rate` its first `voters` are scored on all samples, and those that
        they disagree on most are kept. The ledger does not hold all that is asked of them.

        Args:
            architectures: as those of `score`.

        Raises:
            InputError: samples have been selected before, or as `score` does.
        """
        rate = self._settings.unfrozen_sample_rate
        if rate == 1.0 or not architectures:
            return
        require(
            not self._shards.freezes,
            "architectures",
            "those of the first generation",
            "others, after a selection of samples",
            "Let candidates vote once, before any freeze.",
        )
        voters = architectures[: self._settings.voters]
        outcomes = self.outcomes(voters)
        self._remember(voters, outcomes)
        selection = self._voting.count([outcomes], rate)
        self._recoverable.apply(lambda shards: self._maps.select(shards, selection))

    def freeze(
        self, prefix: Architecture, reference: Architecture, voters: Sequence[Architecture] = ()
    ) -> None:
        """Advance all shards to a longer prefix; at the first freeze, select samples.

        Of the samples that are there, as many are kept as `sample_rate` wants of all. What is
        selected depends on the arguments alone: voters that were scored last are not scored again,
        others are, with the same outcome.

        Args:
            prefix: the frozen choices, starting with the current ones.
            reference: an architecture with that prefix, whose losses give the importance under
                `"top"` and `"weighted"`.
            voters: architectures whose disagreement gives it under `"disagreement"`, such as the
                new parents and the last generation. Those with the new prefix and the others are
                two groups. The reference alone votes if there are none.

        Raises:
            InputError: the prefix does not continue the current one, or the reference not it.
        """
        require_longer(self.prefix, prefix, reference)
        kept = kept_samples(sum(self._full.validation.rows), self._settings.sample_rate)
        present = sum(self._shards.validation.rows)
        if not self.prefix and kept < present:
            selection = self._voting.select(kept / present, prefix, reference, voters)
            # One step, so that a prefix that the supernet does not have leaves nothing half done.
            self._recoverable.apply(
                lambda shards: self._maps.advance(self._maps.select(shards, selection), prefix)
            )
        else:
            self._recoverable.apply(lambda shards: self._maps.advance(shards, prefix))

    def _remember(self, architectures: Sequence[Architecture], outcomes: Outcomes) -> None:
        """Add new scores of candidates on the samples of the shards to the ledger."""
        wanted = [tuple(each) for each in architectures]
        entries = dict(zip(wanted, entries_of(self._shards, wanted, outcomes), strict=True))
        # Known ones stay: batches that were halved, say, may move the last bits of a loss.
        self._ledger.complete(
            lambda: self._key(self._shards),
            wanted,
            lambda missing: [entries[each] for each in missing],
        )

    def _score(self, shards: FrozenShards, architectures: Sequence[Architecture]) -> list[Score]:
        if not architectures:
            return []
        wanted = [starting_with(shards.prefix, each) for each in architectures]
        entries, known = self._ledger.complete(
            lambda: self._key(shards), wanted, lambda missing: self._evaluate(shards, missing)
        )
        self._served += known
        return [entry.score for entry in entries]

    def _evaluate(self, shards: FrozenShards, architectures: Sequence[Architecture]) -> list[Entry]:
        outcomes = self._maps.outcomes(shards, architectures)
        if not (shards.full or shards.prefix):
            self._voting.remember(architectures, outcomes)
        return entries_of(shards, architectures, outcomes)

    def _key(self, shards: FrozenShards) -> ScoreKey:
        """Everything that scores behind frozen shards depend on, beside the architecture."""
        calibration, samples = sum(shards.calibration.rows), sum(shards.validation.rows)
        settings = in_full(self._settings) if shards.full else self._settings
        evaluation = evaluation_of(settings, calibration, self._pool.machine, shards.freezes)
        evaluation["task"] = self._known.task
        return ScoreKey(self._known.supernet, self.data_digest, evaluation, samples)
