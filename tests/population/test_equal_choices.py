"""Candidates that differ only in choices that compute the same are evaluated as one."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import Scene, build_scene, with_blocks
from small_population import open_evaluator, rows

from raynas.evaluation import Evaluation
from raynas.supernets import ChainSupernet, equivalent_choices
from raynas.supernets.equivalence import canonical
from raynas.workers.pool import LocalPool


class TellsApart(LocalPool):
    """A pool that takes no two choices for the same: the oracle."""

    def __init__(self, supernet: ChainSupernet, protocol: Evaluation) -> None:
        super().__init__(supernet, protocol)
        self.equivalents = tuple(tuple(range(n)) for n in supernet.space.choices)


def doubled(seed: int) -> Scene:
    """A scene in which some choices occur again: as the same module, or as an equal one."""
    scene = build_scene(seed)
    rng = np.random.default_rng(seed)
    supernet, blocks = scene.supernet, []
    for choices in supernet.blocks:
        modules = list(choices)
        for index in rng.integers(0, len(modules), rng.integers(0, 3)):
            again = modules[index] if rng.random() < 0.5 else copy.deepcopy(modules[index])
            modules.insert(int(rng.integers(0, len(modules) + 1)), again)
        blocks.append(modules)
    return replace(scene, supernet=with_blocks(supernet, blocks))


DOUBLED = st.integers(0, 2**31).map(doubled)


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(scene=DOUBLED, bits=st.sampled_from([32, 8]), data=st.data())
def test_scores_are_those_of_candidates_that_are_told_apart(batch_norm, scene, bits, data):
    trunk = scene.candidates(1)[0]
    depth = data.draw(st.integers(0, len(trunk)))
    options = {"batch_norm": batch_norm, "bits": bits, "sample_rate": 0.7}
    found = []
    for kind in (LocalPool, TellsApart):
        pool = kind(scene.supernet, Evaluation(device="cpu", **options))
        evaluator = open_evaluator(scene, pool, **options)
        record = evaluator.score(scene.candidates(6))
        if depth:
            evaluator.freeze(trunk[:depth], trunk)
        assert evaluator.prefix == trunk[:depth]
        record += evaluator.score(scene.candidates(6, trunk[:depth]))
        record += [*evaluator.score_in_full([trunk]), evaluator.test(trunk, scene.validation)]
        statistics = evaluator.statistics(trunk) if batch_norm == "recalibrate" else {}
        found.append((record, {path: v.tobytes() for path, v in statistics.items()}))
    assert found[0] == found[1]
    assert [score.architecture for score in found[0][0][:6]] == scene.candidates(6)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(DOUBLED)
def test_each_is_computed_once(scene: Scene):
    population = scene.candidates(8)
    evaluator = open_evaluator(scene)
    evaluator.score(population)
    same = equivalent_choices(scene.supernet)
    shared = {canonical(same, a) for a in population}
    blocks = {a[: k + 1] for a in shared for k in range(len(a))}
    images = rows(scene.calibration) + rows(scene.validation)
    assert evaluator.block_forwards == len(blocks) * images


def test_equals_save_work_and_are_reported_under_their_own_names():
    scene = next(s for s in map(doubled, range(99)) if _has_equals(s))
    everyone = list(scene.supernet.space.enumerate())[:24]
    counts = []
    for kind in (LocalPool, TellsApart):
        evaluator = open_evaluator(scene, kind(scene.supernet, Evaluation(device="cpu")))
        assert [score.architecture for score in evaluator.score(everyone)] == everyone
        counts.append(evaluator.block_forwards)
    assert counts[0] < counts[1]


def _has_equals(scene: Scene) -> bool:
    first = equivalent_choices(scene.supernet)[0]
    return len(set(first)) < len(first)


def test_one_candidate_at_a_time_means_one_candidate_at_a_time():
    scene = next(s for s in map(doubled, range(99)) if _has_equals(s))
    architecture = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, prefix_sharing=False)
    one, other = evaluator.score([architecture, architecture], reuse=False)
    assert one == other
    images = rows(scene.calibration) + rows(scene.validation)
    assert evaluator.block_forwards == 2 * len(architecture) * images


def test_a_prefix_may_go_on_with_an_equal_choice():
    scene = next(s for s in map(doubled, range(999)) if _has_equals(s) and _blocks(s) > 1)
    same = equivalent_choices(scene.supernet)[0]
    other = next(c for c in range(len(same)) if same[c] != c)
    tail = (0,) * (_blocks(scene) - 1)
    evaluator = open_evaluator(scene)
    whole = evaluator.score([(other, *tail), (same[other], *tail)])
    evaluator.freeze((other,), (other, *tail))
    assert evaluator.prefix == (other,)
    behind = [(other, *tail), (same[other], *tail)]
    assert evaluator.score(behind) == evaluator.score(behind, reuse=False) == whole
    evaluator.freeze((same[other], 0), (same[other], *tail))
    assert evaluator.score([(other, *tail)], reuse=False) == whole[:1]


def _blocks(scene: Scene) -> int:
    return scene.supernet.space.blocks


def test_equal_choices_stay_equal_in_a_copy():
    for seed in range(20):
        supernet = doubled(seed).supernet
        with torch.no_grad():
            replica = copy.deepcopy(supernet)
        assert equivalent_choices(replica) == equivalent_choices(supernet)
