"""`unfrozen_sample_rate`: the first generation votes on the samples that are kept from then on."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import PlainScore, as_outcomes, score_plainly
from random_chains import Scene, scenes
from small_population import open_evaluator, small_spos
from test_recovery import ForgetfulPool

from raynas.errors import InputError
from raynas.evaluation.scores import NOTHING, Dropped
from raynas.evaluation.selection import Selection, select_disagreement
from raynas.ledger.ledger import Ledger

EARLY: dict[str, Any] = {
    "sampling": "disagreement",
    "unfrozen_sample_rate": 0.6,
    "sample_rate": 0.4,
}


def assert_estimates(
    scores: Any, plain: dict[Any, PlainScore], kept: np.ndarray, dropped: Dropped
) -> None:
    """Each score is what a plain forward says of the kept samples, and the constants."""
    for score in scores:
        expected = plain[score.architecture]
        assert (score.correct, score.samples) == (expected.correct[kept].sum(), len(kept))
        for found, name, constant in (
            (score.top1, "correct", dropped.values.get("top1", 0.0)),
            (score.objectives["top5"], "correct_top5", dropped.values.get("top5", 0.0)),
            (score.loss, "losses", dropped.loss),
        ):
            total = getattr(expected, name)[kept].sum(dtype=float) + constant
            assert found == pytest.approx(total / (len(kept) + dropped.samples), abs=1e-5, rel=1e-6)


@settings(max_examples=8)
@given(
    scene=scenes,
    percents=st.tuples(st.integers(10, 90), st.integers(20, 95)).map(sorted),
    voters=st.sampled_from([None, 2, 3, 50]),
)
def test_scores_are_those_of_the_samples_that_each_vote_kept(
    scene: Scene, percents: list[int], voters: int | None
):
    trunk = scene.candidates(1)[0]
    first = list(dict.fromkeys([*scene.candidates(5), trunk]))
    later = [trunk, *scene.candidates(3, trunk[:1])]
    plain = {
        a: score_plainly(scene.supernet, a, scene.calibration, scene.validation)
        for a in {*first, *later}
    }

    def votes(architectures: Any, samples: np.ndarray | slice = slice(None)) -> Any:
        return as_outcomes([plain[a] for a in architectures]).on(samples)

    frozen, unfrozen = (percent / 100 for percent in percents)
    evaluator = open_evaluator(
        scene,
        sampling="disagreement",
        sample_rate=frozen,
        unfrozen_sample_rate=unfrozen,
        voters=voters,
    )
    samples = evaluator.counters.samples
    evaluator.vote_first(first)
    scores = evaluator.score(first)
    selected = select_disagreement([votes(first[:voters])], unfrozen)
    assert evaluator.counters.samples == len(selected.rows)
    assert_estimates(scores, plain, selected.rows, selected.dropped)
    assert_estimates(evaluator.score(later), plain, selected.rows, selected.dropped)

    evaluator.freeze(trunk[:1], trunk, later)
    kept = len(select_disagreement([votes(later)], frozen).rows)
    second = Selection(np.arange(len(selected.rows)), np.empty(0), NOTHING)
    if kept < len(selected.rows):
        behind = [a for a in later if a[:1] == trunk[:1]]
        groups = [votes(behind, selected.rows)]
        second = select_disagreement(groups, kept / len(selected.rows))
    rows, dropped = selected.rows[second.rows], selected.dropped + second.dropped
    assert evaluator.counters.samples == len(rows) == kept
    assert len(rows) + dropped.samples == samples
    assert_estimates(evaluator.score(later), plain, rows, dropped)
    finals = evaluator.score_in_full(later)
    assert [score.samples for score in finals] == [samples] * len(later)
    assert finals == open_evaluator(scene).score(later)


def history(scene: Scene, pool: Any = None, **options: Any) -> list[Any]:
    """Scores of generations before and behind a freeze; all of the first one vote, or some."""
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, pool, **{**EARLY, "bits": 16, **options})
    evaluator.vote_first(scene.candidates(6))
    first = evaluator.score(scene.candidates(6))
    second = evaluator.score(scene.candidates(9)[6:])
    evaluator.freeze(trunk[:2], trunk, scene.candidates(9))
    third = evaluator.score(scene.candidates(3, trunk[:2]))
    return [first, second, third, evaluator.counters.samples, evaluator.counters.selection]


def test_a_first_generation_does_not_change_what_it_votes_with():
    scene = small_spos()
    assert history(scene) == history(scene)
    assert history(scene) != history(scene, unfrozen_sample_rate=0.5)
    assert history(scene) == history(scene, voters=6) != history(scene, voters=2)


def test_at_rate_one_nothing_is_dropped():
    scene = small_spos()
    evaluator = open_evaluator(scene, sampling="disagreement", sample_rate=0.4)
    samples = evaluator.counters.samples
    evaluator.vote_first(scene.candidates(6))
    assert (evaluator.counters.samples, evaluator.counters.selection) == (samples, None)
    assert evaluator.counters.block_forwards == 0


def test_candidates_vote_once():
    scene = small_spos()
    evaluator = open_evaluator(scene, **EARLY)
    evaluator.vote_first([])
    assert evaluator.counters.selection is None
    evaluator.vote_first(scene.candidates(6))
    selection = evaluator.counters.selection
    with pytest.raises(InputError, match=r"architectures: expected those of the first generation"):
        evaluator.vote_first(scene.candidates(6))
    assert evaluator.counters.selection == selection is not None


def test_a_freeze_that_is_refused_selects_nothing():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, **EARLY)
    evaluator.vote_first(scene.candidates(6))
    before = (evaluator.counters.samples, evaluator.counters.selection, evaluator.score([trunk]))
    other = ((trunk[0] + 1) % 4, *trunk[1:])
    for prefix, reference in (((), trunk), ((9,), (9, *trunk[1:])), (trunk[:1], other)):
        with pytest.raises(InputError):
            evaluator.freeze(prefix, reference, scene.candidates(6))
        assert (
            evaluator.counters.samples,
            evaluator.counters.selection,
            evaluator.score([trunk]),
        ) == before


def test_a_ledger_changes_no_score_and_keeps_the_full_ones_of_the_first_generation():
    scene = small_spos()
    with Ledger() as ledger:
        open_evaluator(scene, ledger=ledger).score(scene.candidates(6)[:2])
        for _ in range(2):
            assert history(scene, ledger=ledger) == history(scene)
        evaluator = open_evaluator(scene, ledger=ledger)
        assert evaluator.score(scene.candidates(6)) == open_evaluator(scene).score(
            scene.candidates(6)
        )
        assert (evaluator.counters.known, evaluator.counters.block_forwards) == (6, 0)
        keys = [context.key for context in ledger.contexts()]
        assert len({key.digest for key in keys}) == 3, "all, voted, behind the prefix"
        assert ledger.verify() == []


def test_voters_do_not_quarrel_with_the_ledger_about_last_bits():
    scene = small_spos()
    (candidate,) = scene.candidates(1)
    with Ledger() as ledger:
        evaluator = open_evaluator(scene, ledger=ledger)
        evaluator.score([candidate])
        (context,) = ledger.contexts()
        entry = ledger.known(context.key, [candidate])[candidate]
    rounded = replace(entry.score, loss=np.nextafter(entry.score.loss, np.inf))
    with Ledger() as ledger:
        ledger.add(context.key, [replace(entry, score=rounded)])
        assert history(scene, ledger=ledger) == history(scene)


@functools.cache
def undisturbed(voters: int | None) -> tuple[list[Any], int]:
    """The history of a pool that forgets nothing, and how many calls it takes."""
    scene = small_spos()
    whole = ForgetfulPool(scene, **EARLY, bits=16)
    found = history(scene, whole, voters=voters)
    assert found == history(scene, voters=voters)
    return found, whole.runs


@pytest.mark.parametrize(
    ("lost", "voters"), [*((run, None) for run in range(4, 12)), (5, 2), (8, 2), (11, 2)]
)
def test_the_votes_outlive_shards_that_went_away(lost: int, voters: int | None):
    scene = small_spos()
    pool = ForgetfulPool(scene, **EARLY, bits=16)
    pool.losses = [lost]
    expected, runs = undisturbed(voters)
    assert history(scene, pool, voters=voters) == expected
    assert pool.runs > runs


def test_the_kept_samples_are_executed_and_no_others():
    scene = small_spos()
    evaluator = open_evaluator(scene, **EARLY, voters=2, batch_norm="inherit")
    samples, blocks = evaluator.counters.samples, scene.supernet.space.blocks
    disjoint = [(choice,) * blocks for choice in range(4)]
    evaluator.vote_first(disjoint[:3])
    assert evaluator.counters.block_forwards == 2 * samples * blocks
    evaluator.score(disjoint)
    assert (
        evaluator.counters.block_forwards == (2 * samples + 4 * evaluator.counters.samples) * blocks
    )
    assert evaluator.counters.samples == -(-6 * samples // 10)
