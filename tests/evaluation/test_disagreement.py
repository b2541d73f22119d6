"""Disagreement sampling: which samples are kept, and what scores on them say of all."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, exp, fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_scoring import classified

from raynas.evaluation.scores import Outcomes, merge_scores
from raynas.evaluation.selection import Selection, select_disagreement
from raynas.score import Score


@st.composite
def voter_groups(draw: st.DrawFn) -> Outcomes:
    """What a few voters say of a few samples; some samples are easy, some are hard."""
    voters, samples = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return voter_group(rng, voters, rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], samples))


def voter_group(rng: np.random.Generator, voters: int, share: np.ndarray) -> Outcomes:
    correct = rng.random((voters, len(share))) < share
    top5 = correct | (rng.random(correct.shape) < 0.5)
    losses = rng.exponential(1.0, correct.shape).astype(np.float32)
    return classified(correct, top5, losses)


def estimates(scored: Outcomes, kept: Selection) -> list[Score]:
    """The scores of candidates, of which only the kept samples are looked at."""
    seen = scored.on(kept.rows)
    names = [(index,) for index in range(len(scored.finite))]
    return merge_scores(names, seen, kept.weights, kept.dropped)


def columns(scored: Outcomes) -> dict[str, np.ndarray]:
    """Values and losses by name."""
    return {**scored.values, "loss": scored.losses}


def full(scored: Outcomes) -> list[Score]:
    samples = scored.losses.shape[1]
    return estimates(scored, Selection(np.arange(samples), np.ones(samples)))


def ranking(scores: list[Score]) -> list[list[int]]:
    """Candidates in groups of equal top-1, best first."""
    levels = sorted({score.top1 for score in scores}, reverse=True)
    return [[i for i, score in enumerate(scores) if score.top1 == level] for level in levels]


PERCENT = st.integers(1, 100)


def plain_importance(votes: Outcomes, sample: int) -> float:
    """One sample at a time: the variance of a bit that is right with the mean chance."""
    chances = [
        0.9 * bool(bit) + 0.1 * exp(-float(loss))
        for bit, loss in zip(votes.first[:, sample], votes.losses[:, sample], strict=True)
    ]
    chance = fsum(chances) / len(chances)
    return chance * (1.0 - chance)


@given(voter_groups(), st.none() | st.integers(1, 6), PERCENT, st.integers(0, 2**32 - 1))
def test_scores_are_those_of_a_plain_count(first, second, percent, seed):
    samples = first.losses.shape[1]
    rng = np.random.default_rng(seed)
    groups = [first] if second is None else [first, voter_group(rng, second, rng.random(samples))]
    kept = select_disagreement(groups, percent / 100)
    importance = [
        round(sum(plain_importance(g, i) for g in [first, *groups]), 9) for i in range(samples)
    ]
    ranked = sorted(range(samples), key=lambda i: (-importance[i], i))
    chosen = set(ranked[: ceil(percent * samples / 100)])
    assert kept.rows.tolist() == sorted(chosen)
    assert kept.weights.tolist() == [1.0] * len(chosen)
    others = voter_group(rng, 4, np.full(samples, 0.5))
    for index, score in enumerate(estimates(others, kept)):
        found = {**score.objectives, "loss": score.loss}
        assert list(found) == ["top1", "top5", "loss"]
        for name, estimate in found.items():
            own = columns(others)[name][index].astype(float)
            means = columns(first)[name].astype(float).mean(axis=0)
            values = [own[i] if i in chosen else means[i] for i in range(samples)]
            assert estimate == pytest.approx(fsum(values) / samples)
        assert score.correct == sum(bool(others.first[index][i]) for i in chosen)
        assert score.samples == len(chosen)


@given(voter_groups(), st.integers(0, 2**32 - 1), PERCENT)
def test_unanimous_samples_never_change_the_ranking(first, seed, percent):
    """Neither how many of them there are, nor whether they are kept or dropped."""
    rng = np.random.default_rng(seed)
    samples = first.losses.shape[1]
    candidates = voter_group(rng, 5, rng.choice([0.0, 0.2, 0.8, 1.0], samples))
    kept = select_disagreement([first], percent / 100)
    before = ranking(estimates(candidates, kept))
    divided = candidates.first.min(axis=0) != candidates.first.max(axis=0)
    seen = np.isin(np.arange(samples), kept.rows)
    without = replace(
        kept, rows=kept.rows[divided[seen]], weights=np.ones(int(divided[seen].sum()))
    )
    if len(without.rows):
        assert ranking(estimates(candidates, without)) == before
    if not (divided & ~seen).any():
        assert ranking(full(candidates)) == before


def test_samples_that_all_are_sure_of_go_first():
    losses = np.tile(np.array([2.0, 0.01, 0.6, 3.0, 0.4], np.float32), (3, 1))
    correct = np.tile([False, True, True, False, True], (3, 1))
    correct[0, 3] = True
    votes = classified(correct, correct, losses)
    kept = [select_disagreement([votes], count / 5).rows.tolist() for count in range(1, 6)]
    assert kept == [[3], [2, 3], [2, 3, 4], [0, 2, 3, 4], [0, 1, 2, 3, 4]]


@given(voter_groups(), PERCENT)
def test_the_voters_own_mean_is_estimated_exactly(votes, percent):
    scores = estimates(votes, select_disagreement([votes], percent / 100))
    for name in ("top1", "top5", "loss"):
        found, expected = (
            np.mean([score.loss if name == "loss" else score.objectives[name] for score in some])
            for some in (scores, full(votes))
        )
        assert found == pytest.approx(expected)


@given(voter_groups())
def test_the_full_rate_gives_the_full_scores(votes):
    kept = select_disagreement([votes], 1.0)
    assert (kept.dropped.samples, kept.dropped.loss) == (0, 0.0)
    assert not any(kept.dropped.values.values())
    assert estimates(votes, kept) == full(votes)


@given(voter_groups(), PERCENT, st.permutations(range(6)))
def test_the_order_of_the_voters_does_not_matter(votes, percent, order):
    places = [place for place in order if place < len(votes.finite)]
    first = select_disagreement([votes], percent / 100)
    second = select_disagreement([votes.of_candidates(places)], percent / 100)
    assert (first.rows == second.rows).all()
    assert first.dropped.samples == second.dropped.samples
    assert first.dropped.values == pytest.approx(dict(second.dropped.values))


def test_a_diverged_candidate_has_no_vote_unless_all_diverged():
    votes = voter_group(np.random.default_rng(0), 4, np.full(20, 0.5))
    losses = votes.losses.copy()
    losses[2] = np.nan
    broken = replace(votes, losses=losses, finite=np.array([True, True, False, True]))
    found = select_disagreement([broken, broken], 0.3)
    wanted = select_disagreement([votes.of_candidates([0, 1, 3])] * 2, 0.3)
    assert found.rows.tolist() == wanted.rows.tolist()
    assert found.dropped == wanted.dropped
    lost = replace(votes, losses=np.full((4, 20), np.inf), finite=np.zeros(4, bool))
    kept = select_disagreement([lost], 0.3)
    assert len(kept.rows) == 6
    assert np.isfinite(kept.dropped.loss)
