"""`PopulationEvaluator`: scores of a generation, freezes, and what is known already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from raynas.errors import require
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.scores import CandidateScore, ShardScores, merge_scores
from raynas.evaluation.selection import kept_samples
from raynas.evaluation.settings import Evaluation
from raynas.evaluation.trie import nodes_of
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.ledger.score_key import ScoreKey, evaluation_of, in_full
from raynas.population.frozen_shards import View, first_images, place, require_longer
from raynas.population.recovery import RecoverableView
from raynas.population.shard_maps import Maps
from raynas.population.voting import Voting
from raynas.score import Score
from raynas.shards.shard import Shard, ShardDigest
from raynas.space import Architecture, starting_with
from raynas.supernets.equivalence import canonical
from raynas.workers.pool import Pool


class PopulationEvaluator:
    """Scores populations on shards that live in the pool's store, each candidate at most once.

    Args:
        pool: the workers.
        calibration: depth-0 shards; each is read once.
        validation: depth-0 shards; each is read once.
        settings: the evaluation protocol.
        seed: of the sampling.
        observe: is called with each shard as it is read.
        ledger: scores that are known already, and where new ones are added; it stays open. One in
            memory if omitted.
        supernet: the digest of what the pool evaluates; a ledger needs it.

    Raises:
        InputError: a ledger without the digest; recalibration without calibration shards, or with
            a shard of one image.
        WorkerCrashError: no worker could be started.
    """

    def __init__(
        self,
        pool: Pool,
        calibration: Sequence[Shard],
        validation: Sequence[Shard],
        settings: Evaluation,
        seed: int,
        observe: Callable[[Shard], None] = lambda shard: None,
        ledger: Ledger | None = None,
        supernet: str = "",
    ) -> None:
        require(
            ledger is None or supernet != "",
            "supernet",
            "the digest of the supernet, beside a ledger",
            repr(supernet),
            "Give raynas.supernets.digest(supernet).",
        )
        self._pool = pool
        self._maps = Maps(pool, settings)
        self._ledger = Ledger() if ledger is None else ledger
        self._supernet = supernet
        self._digest = ShardDigest()
        self._settings = settings
        self.known = 0

        def read(shard: Shard) -> None:
            observe(shard)
            self._digest.update(shard)

        everything = place(pool, calibration if settings.batch_norm == "recalibrate" else (), read)
        self._full = View((), everything, place(pool, validation, read), exact=True)
        self._standing = RecoverableView(
            replace(
                self._full,
                calibration=first_images(everything, settings.calibration_images),
                exact=False,
            )
        )
        self._voting = Voting(self._maps, self._standing, settings.sampling, seed)
        if settings.batch_norm == "recalibrate":
            rows = self._full.calibration.rows
            require(
                len(rows) > 0 and min(rows) > 1,
                "calibration",
                "shards of at least two images each",
                rows,
                "Give more calibration images or larger shards, or use batch_norm='inherit'.",
            )
        pool.wait()

    @property
    def _view(self) -> View:
        return self._standing.current

    @property
    def prefix(self) -> Architecture:
        """The frozen choices that the shards are behind."""
        return self._view.prefix

    @property
    def data_digest(self) -> str:
        """The digest of all shards that were read: calibration, if it is used, and validation."""
        return self._digest.hexdigest()

    @property
    def block_forwards(self) -> int:
        """Blocks executed so far, times images."""
        return self._maps.block_forwards

    @property
    def halvings(self) -> int:
        """How often a worker has halved a batch that did not fit in memory."""
        return self._maps.halvings

    @property
    def workers(self) -> int:
        """How many workers evaluate; 0 for the driver's own process."""
        return self._pool.workers

    @property
    def gpus(self) -> int:
        """How many GPUs the workers hold."""
        return self._pool.gpus

    @property
    def samples(self) -> int:
        """How many validation samples a candidate is scored on."""
        return sum(self._view.validation.rows)

    @property
    def selection(self) -> str | None:
        """A digest of the samples that candidates are scored on; `None` for all."""
        return self._view.selection

    def score(
        self, architectures: Sequence[Architecture], *, reuse: bool = True
    ) -> list[CandidateScore]:
        """Score candidates behind the current prefix, under the current selection of samples.

        Args:
            architectures: of full length, all starting with the prefix.
            reuse: look scores up in the ledger, evaluate only the rest, and add it. Otherwise
                evaluate all and leave the ledger alone, to measure what that takes.

        Returns:
            One score per architecture, in the order given.

        Raises:
            InputError: an architecture that the supernet does not have, or with another prefix, or
                a ledger that cannot be used, or that has another score of one of them.
        """
        self._voting.forget()
        return self._standing.run(lambda view: self._score(view, architectures, reuse))

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
            not self._view.freezes,
            "architectures",
            "those of the first generation",
            "others, after a selection of samples",
            "Let candidates vote once, before any freeze.",
        )
        voters = architectures[: self._settings.voters]
        outcomes = self.outcomes(voters)
        self._remember(voters, outcomes)
        selection = self._voting.count([outcomes], rate)
        self._standing.take(lambda view: self._maps.select(view, selection))

    def score_in_full(
        self, architectures: Sequence[Architecture], *, reuse: bool = True
    ) -> list[CandidateScore]:
        """As `score`, under the full protocol: all samples, from the images on, in float32."""
        return self._score(self._full, architectures, reuse)

    def outcomes(self, architectures: Sequence[Architecture]) -> ShardScores:
        """What candidates say of each sample that `score` scores them on, in sample order.

        Args:
            architectures: as those of `score`, which raises for others, too.
        """
        wanted = [starting_with(self.prefix, each) for each in architectures]
        return self._standing.run(lambda view: self._maps.outcomes(view, wanted))

    def statistics(self, architecture: Architecture) -> Statistics:
        """Merged batch-norm statistics of every node of one architecture, from the images on.

        The protocol must recalibrate.
        """
        shared = self._maps.canonical(architecture)
        statistics = self._maps.statistics_of(self._full, shared)
        assert not isinstance(statistics, str)
        paths = zip(nodes_of(tuple(architecture)), nodes_of(shared), strict=True)
        return {own: statistics[path] for own, path in paths}

    def test(self, architecture: Architecture, shards: Sequence[Shard]) -> CandidateScore:
        """Score one architecture on held-out shards, reading a few of them at a time."""
        shared = self._maps.canonical(architecture)
        statistics = self._maps.statistics_of(self._full, shared)
        return merge_scores([architecture], *self._maps.score_images(shared, shards, statistics))[0]

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
                two electorates. The reference alone votes if there are none.

        Raises:
            InputError: the prefix does not continue the current one, or the reference not it.
        """
        canonical(self._pool.equivalents, reference)
        require_longer(*map(self._maps.canonical, (self.prefix, prefix, reference)))
        self._select(prefix, reference, voters)
        self._standing.take(lambda view: self._maps.advance(view, prefix))

    def _select(
        self, prefix: Architecture, reference: Architecture, voters: Sequence[Architecture]
    ) -> None:
        """At the first freeze, keep as many of all samples as the protocol wants."""
        kept = kept_samples(sum(self._full.validation.rows), self._settings.sample_rate)
        if not self.prefix and kept < self.samples:
            selection = self._voting.select(kept / self.samples, prefix, reference, voters)
            self._standing.take(lambda view: self._maps.select(view, selection))

    def _remember(self, architectures: Sequence[Architecture], outcomes: ShardScores) -> None:
        """Add new scores of candidates on the samples of the view to the ledger."""
        shared = [self._maps.canonical(each) for each in architectures]
        entries = dict(zip(shared, self._entries(self._view, shared, outcomes), strict=True))
        # Known ones stay: batches that were halved, say, may move the last bits of a loss.
        self._ledger.complete(
            self._key(self._view), shared, lambda missing: [entries[each] for each in missing]
        )

    def _score(
        self, view: View, architectures: Sequence[Architecture], reuse: bool
    ) -> list[CandidateScore]:
        if not architectures:
            return []
        prefix = self._maps.canonical(view.prefix)
        shared = [starting_with(prefix, self._maps.canonical(each)) for each in architectures]
        if reuse:
            entries, known = self._ledger.complete(
                self._key(view), shared, lambda missing: self._evaluate(view, missing)
            )
            self.known += known
        else:
            entries = self._evaluate(view, shared)
        named = zip(architectures, entries, strict=True)
        return [candidate_score(replace(e.score, architecture=tuple(each))) for each, e in named]

    def _evaluate(self, view: View, architectures: Sequence[Architecture]) -> list[Entry]:
        outcomes = self._maps.outcomes(view, architectures)
        if not (view.exact or view.prefix):
            self._voting.note(architectures, outcomes)
        return self._entries(view, architectures, outcomes)

    def _entries(
        self, view: View, architectures: Sequence[Architecture], outcomes: ShardScores
    ) -> list[Entry]:
        """What the ledger holds of candidates."""
        scores = merge_scores(architectures, outcomes, view.validation.weights, view.dropped)
        return [
            Entry(named_score(score), digest_of_outcomes(correct))
            for score, correct in zip(scores, outcomes.correct, strict=True)
        ]

    def _key(self, view: View) -> ScoreKey:
        """What scores behind a view depend on, beside the architecture."""
        calibration = sum(view.calibration.rows)
        settings = in_full(self._settings) if view.exact else self._settings
        evaluation = evaluation_of(settings, calibration, self._pool.machine, view.freezes)
        return ScoreKey(self._supernet, self.data_digest, evaluation, sum(view.validation.rows))


def named_score(score: CandidateScore) -> Score:
    """A score as the ledger holds it."""
    objectives = {"top1": score.top1, "top5": score.top5}
    return Score(
        score.architecture, objectives, score.loss, score.finite, score.samples, score.correct
    )


def candidate_score(score: Score) -> CandidateScore:
    """A score of the ledger's as the search takes it."""
    return CandidateScore(
        score.architecture,
        int(score.correct or 0),
        score.samples,
        score.top1,
        score.objectives["top5"],
        score.loss,
        score.finite,
    )
