"""Scores that are known are not evaluated again, and only those that would come out the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import Scene, random_shards, scenes
from small_population import SEED, open_evaluator, small_spos

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.ledger.ledger import Ledger
from raynas.population.evaluated import Known, Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.calls import Call
from raynas.workers.pool import LocalPool


def effort(evaluator: PopulationEvaluator, architectures: list[Any]) -> tuple[int, int]:
    """Block forwards and known scores of one request."""
    before = evaluator.counters.block_forwards, evaluator.counters.known
    evaluator.score(architectures)
    return evaluator.counters.block_forwards - before[0], evaluator.counters.known - before[1]


def test_within_a_run_no_architecture_is_scored_twice():
    scene = small_spos()
    a, b, c = dict.fromkeys(scene.candidates(3))
    evaluator = open_evaluator(scene)
    first = evaluator.score([a, b, a])
    assert first[0] == first[2]
    assert evaluator.counters.known == 0
    forwards, known = effort(evaluator, [b, a])
    assert (forwards, known) == (0, 2)
    assert evaluator.score_in_full([a, b]) == first[:2]
    forwards, known = effort(evaluator, [a, c])
    assert forwards > 0
    assert known == 1


@settings(max_examples=6)
@given(
    scene=scenes,
    options=st.fixed_dictionaries(
        {
            "bits": st.sampled_from([32, 16, 4]),
            "precision": st.sampled_from(["float32", "bfloat16"]),
            "fold_batch_norm": st.booleans(),
            "calibration_images": st.sampled_from([None, 2]),
            "sample_rate": st.sampled_from([1.0, 0.5]),
            "sampling": st.sampled_from(["top", "weighted"]),
            "batch_norm": st.sampled_from(["recalibrate", "inherit"]),
        }
    ),
    data=st.data(),
)
def test_reused_scores_are_those_that_would_be_evaluated(scene: Scene, options, data):
    trunk = scene.candidates(1)[0]
    with Ledger() as shared:
        for _ in range(3):
            depths = data.draw(st.sets(st.integers(1, len(trunk)), max_size=3))
            reusing = open_evaluator(scene, ledger=shared, **options)
            alone = open_evaluator(scene, **options)
            for depth in (0, *sorted(depths)):
                if depth:
                    reusing.freeze(trunk[:depth], trunk)
                    alone.freeze(trunk[:depth], trunk)
                population = scene.candidates(3, trunk[:depth])
                assert reusing.score(population) == alone.score_again(population)
                assert reusing.score_in_full([trunk]) == alone.score_in_full([trunk])
        assert shared.verify() == []


def test_what_was_scored_before_a_freeze_is_known_after_it():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    population = list(dict.fromkeys([trunk, *scene.candidates(3, trunk[:2])]))
    evaluator = open_evaluator(scene)
    whole = evaluator.score(population)
    for depth in (1, 2):
        evaluator.freeze(trunk[:depth], trunk)
        assert effort(evaluator, population) == (0, len(population))
        assert evaluator.score(population) == whole


FREEZES = {
    "other bits": ({"bits": 16}, {"bits": 32}, [1, 2]),
    "the steps, at few bits": ({"bits": 16}, {"bits": 16}, [2]),
    "the steps, in bfloat16": ({"precision": "bfloat16"}, {"precision": "bfloat16"}, [2]),
    "the samples": ({"sample_rate": 0.5}, {"sample_rate": 0.4}, [1, 2]),
    "their weights": (
        {"sample_rate": 0.5, "sampling": "weighted"}, {"sample_rate": 0.5}, [1, 2]
    ),
    "the draw": (
        {"sample_rate": 0.5, "sampling": "weighted"},
        {"sample_rate": 0.5, "sampling": "weighted", "seed": SEED + 5},
        [1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FREEZES)
def test_behind_a_prefix_scores_are_kept_apart_by(name: str):
    first, second, steps = FREEZES[name]
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    with Ledger() as ledger:

        def behind(options: dict[str, Any], depths: list[int]) -> PopulationEvaluator:
            evaluator = open_evaluator(scene, ledger=ledger, **options)
            for depth in depths:
                evaluator.freeze(trunk[:depth], trunk)
            return evaluator

        assert effort(behind(first, [1, 2]), [trunk])[1] == 0
        assert effort(behind(first, [1, 2]), [trunk]) == (0, 1), "the same steps are the same"
        assert effort(behind(second, steps), [trunk])[1] == 0
        assert len(ledger.contexts()) == 2


def test_at_32_bits_neither_steps_nor_storage_settings_count():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    with Ledger() as ledger:
        open_evaluator(scene, ledger=ledger, bits=16, sample_rate=0.5).score([trunk])
        for options in ({"prefix_sharing": False}, {"sampling": "weighted"}, {"device": "auto"}):
            if options == {"device": "auto"} and LocalPool(scene.supernet, Evaluation()).gpus:
                continue
            evaluator = open_evaluator(scene, ledger=ledger, **options)
            evaluator.freeze(trunk[:3], trunk)
            assert effort(evaluator, [trunk]) == (0, 1)
        sampled = {"sample_rate": 0.5}
        for depths in ([1, 3], [1, 2]):
            evaluator = open_evaluator(scene, ledger=ledger, **sampled)
            for depth in depths:
                evaluator.freeze(trunk[:depth], trunk)
            assert effort(evaluator, [trunk])[1] == (depths == [1, 2])


class Elsewhere(LocalPool):
    """Says that it computes on another machine."""

    machine = {"device": "cpu", "processor": "another", "torch": "0", "numpy": "0"}  # noqa: RUF012


def other_scene(scene: Scene, part: str) -> Scene:
    if part == "supernet":
        another = small_spos().supernet
        with_other_weights = next(another.blocks[0].parameters())
        with_other_weights.data += 0.5
        return Scene(another, scene.calibration, scene.validation, 3)
    shards = random_shards(scene.supernet, part, 40, 9, seed=7)
    return replace(scene, **{part: shards})


@pytest.mark.parametrize(
    "change", ["supernet", "calibration", "validation", "batch norm", "threads", "machine"]
)
def test_what_changes_scores_separates_them(change: str):
    scene = small_spos()
    candidates = scene.candidates(2)
    options: dict[str, Any] = {}
    other = scene
    if change in ("supernet", "calibration", "validation"):
        other = other_scene(scene, change)
    if change == "batch norm":
        options["batch_norm"] = "inherit"
    if change == "threads":
        options["threads"] = 2
    if change == "machine":
        options["pool"] = Elsewhere(scene.supernet, Evaluation(device="cpu"))
    with Ledger() as ledger:
        open_evaluator(scene, ledger=ledger).score(candidates)
        evaluator = open_evaluator(other, ledger=ledger, **options)
        assert effort(evaluator, candidates)[1] == 0
        assert evaluator.counters.known == 0
        assert len(ledger.contexts()) == 2


class Joined(LocalPool):
    """A pool that a worker on a machine of another kind joins while it runs calls."""

    kinds = "one"

    @property
    def machine(self) -> dict[str, str]:
        """The machine, of which the processor's name changes."""
        return {**super().machine, "processor": self.kinds}

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        """Run the calls as if two kinds of processors did."""
        self.kinds = "another + one"
        return super().run(calls, keep=keep)


def test_scores_that_a_worker_of_another_kind_had_a_part_in_are_not_those_of_one_kind() -> None:
    scene = small_spos()
    protocol = Evaluation(device="cpu")
    with Ledger() as ledger:
        open_evaluator(scene, Joined(scene.supernet, protocol), ledger=ledger).score(
            scene.candidates(2)
        )
        processors = [key.evaluation["machine"]["processor"] for key, count in ledger.counts()]
    assert processors == ["another + one"]


def test_inherited_statistics_do_not_depend_on_calibration():
    scene = small_spos()
    candidates = scene.candidates(2)
    other = other_scene(scene, "calibration")
    with Ledger() as ledger:
        open_evaluator(scene, ledger=ledger, batch_norm="inherit").score(candidates)
        found = effort(open_evaluator(other, ledger=ledger, batch_norm="inherit"), candidates)
        assert found == (0, len(set(candidates)))


@pytest.mark.parametrize(
    "options", [{"precision": "bfloat16"}, {"fold_batch_norm": True}, {"calibration_images": 4}]
)
def test_ranking_settings_separate_ranked_scores_and_share_full_ones(options: dict[str, Any]):
    scene = small_spos()
    candidates = list(dict.fromkeys(scene.candidates(3)))
    with Ledger() as ledger:
        plain, other = (
            open_evaluator(scene, ledger=ledger),
            open_evaluator(scene, ledger=ledger, **options),
        )
        full = plain.score(candidates)
        assert effort(other, candidates)[1] == 0
        forwards = other.counters.block_forwards
        assert other.score_in_full(candidates) == full
        assert (other.counters.known, other.counters.block_forwards) == (len(candidates), forwards)


def test_as_many_calibration_images_as_there_are_change_nothing():
    scene = small_spos()
    candidates = scene.candidates(2)
    with Ledger() as ledger:
        open_evaluator(scene, ledger=ledger).score(candidates)
        evaluator = open_evaluator(scene, ledger=ledger, calibration_images=12)
        assert effort(evaluator, candidates) == (0, len(candidates))


def test_a_ledger_needs_the_digest_of_the_supernet():
    with Ledger() as ledger, pytest.raises(InputError, match="supernet: expected the digest"):
        Known(ledger)


def test_another_task_has_scores_of_its_own():
    scene = small_spos()
    candidates = scene.candidates(2)
    protocol = Evaluation(device="cpu")
    with Ledger() as ledger:
        for task in ({"task": "one"}, {"task": "other"}):
            evaluator = PopulationEvaluator(
                LocalPool(scene.supernet, protocol),
                Splits(scene.calibration, scene.validation),
                protocol,
                SEED,
                Known(ledger, "a digest", task),
            )
            assert effort(evaluator, candidates)[1] == 0
        assert len(ledger.contexts()) == 2
